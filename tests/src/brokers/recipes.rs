//! The brokers that can be installed from public registries.

mod mosquitto;
mod nats;
mod rabbitmq;

use super::recipe::Recipe;

/// All of them, in the order they are tried.
pub static RECIPES: &[&dyn Recipe] =
    &[&mosquitto::Mosquitto, &rabbitmq::RabbitMq::Amqp, &rabbitmq::RabbitMq::Mqtt, &nats::Nats];

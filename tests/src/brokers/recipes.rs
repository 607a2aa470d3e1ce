//! The brokers that can be installed from public registries.

mod activemq;
mod aedes;
mod amqtt;
mod crossbar;
mod mosquitto;
mod mqttv5;
mod nats;
mod rabbitmq;
mod rumqttd;

use super::recipe::Recipe;

/// All of them, in the order they are tried.
pub static RECIPES: &[&dyn Recipe] = &[
    &mosquitto::Mosquitto,
    &rabbitmq::RabbitMq::Amqp,
    &rabbitmq::RabbitMq::Mqtt,
    &nats::Nats,
    &activemq::ActiveMq::Whole,
    &activemq::ActiveMq::WithoutCodec,
    &aedes::Aedes,
    &amqtt::Amqtt,
    &rumqttd::Rumqttd,
    &mqttv5::Mqttv5,
    &crossbar::Crossbar,
];

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
    &mosquitto::Mosquitto::Plain,
    &mosquitto::Mosquitto::Links,
    &rabbitmq::RabbitMq::Amqp,
    &rabbitmq::RabbitMq::Mqtt,
    &rabbitmq::RabbitMq::Links,
    &nats::Nats::Plain,
    &nats::Nats::Links,
    &activemq::ActiveMq::Whole,
    &activemq::ActiveMq::WithoutCodec,
    &activemq::ActiveMq::Links,
    &aedes::Aedes::Plain,
    &aedes::Aedes::Links,
    &amqtt::Amqtt,
    &rumqttd::Rumqttd,
    &mqttv5::Mqttv5::Plain,
    &mqttv5::Mqttv5::Links,
    &crossbar::Crossbar,
];

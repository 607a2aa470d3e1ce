//! The broker that every machine with the tests has; `cargo xtask brokers` tries the others.

use balancer_tests::brokers::must_hold;

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn mosquitto_is_understood_and_followed() {
    must_hold("mosquitto");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn mosquitto_is_followed_over_tls_and_websocket() {
    must_hold("mosquitto-links");
}

//! What is measured.

use clap::ValueEnum;
use serde::Serialize;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// HTTP requests on connections that stay, and on connections of their own.
    Http,
    /// MQTT connections, and messages on connections that stay.
    Mqtt,
    /// Frames forwarded by one CPU.
    Forward,
    /// Memory for connections that do nothing.
    Idle,
    /// A minute of clients that connect and leave.
    Churn,
}

impl Part {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Http, Self::Mqtt, Self::Forward, Self::Idle, Self::Churn];
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// HTTP requests on connections that stay.
    HttpRequests,
    /// CPU time of the whole machine for each.
    HttpRequestCpu,
    /// HTTP requests on connections of their own.
    HttpConnects,
    /// CPU time of the whole machine for each.
    HttpConnectCpu,
    /// MQTT connections, from the SYN to the broker's CONNACK and good-bye.
    MqttConnects,
    /// CPU time of the whole machine for each.
    MqttConnectCpu,
    /// Half of the connects were accepted in this time.
    MqttConnectP50,
    /// 99 of 100 were.
    MqttConnectP99,
    /// QoS 1 messages that were acknowledged.
    MqttPublishes,
    /// CPU time of the whole machine for each.
    MqttPublishCpu,
    /// Half of the messages of clients that take their time were acknowledged in this time.
    MqttPublishP50,
    /// 99 of 100 were.
    MqttPublishP99,
    /// Frames forwarded by one CPU.
    Forwarded,
    /// Memory of the machine for idle connections that a gateway adds to plain routing.
    Idle10k,
    /// The same for more of them.
    Idle50k,
    /// Of this, what the gateway's processes have resident.
    Resident10k,
    /// The same for more of them.
    Resident50k,
}

impl Metric {
    /// Its name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpRequests => "HTTP requests, connections stay (1/s)",
            Self::HttpRequestCpu => "CPU per request (µs)",
            Self::HttpConnects => "HTTP requests, a connection each (1/s)",
            Self::HttpConnectCpu => "CPU per connection and request (µs)",
            Self::MqttConnects => "MQTT connects (1/s)",
            Self::MqttConnectCpu => "CPU per MQTT connect (µs)",
            Self::MqttConnectP50 => "time to CONNACK, median (µs)",
            Self::MqttConnectP99 => "time to CONNACK, 99 % (µs)",
            Self::MqttPublishes => "MQTT messages, QoS 1 (1/s)",
            Self::MqttPublishCpu => "CPU per message (µs)",
            Self::MqttPublishP50 => "time to PUBACK at 2,000/s, median (µs)",
            Self::MqttPublishP99 => "time to PUBACK at 2,000/s, 99 % (µs)",
            Self::Forwarded => "64-byte frames forwarded by one CPU (1/s)",
            Self::Idle10k => "memory for 10,000 idle MQTT connections (MiB)",
            Self::Idle50k => "memory for 50,000 idle MQTT connections (MiB)",
            Self::Resident10k => "of which resident in processes, 10,000 (MiB)",
            Self::Resident50k => "of which resident in processes, 50,000 (MiB)",
        }
    }

    /// Whether more is better.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        matches!(
            self,
            Self::HttpRequests
                | Self::HttpConnects
                | Self::MqttConnects
                | Self::MqttPublishes
                | Self::Forwarded
        )
    }

    /// How many times better one figure is than another: above 1 is better, whichever way the metric counts.
    #[must_use]
    pub fn advantage(self, ours: f64, other: f64) -> f64 {
        if self.is_rate() { ours / other } else { other / ours }
    }
}

#[cfg(test)]
mod tests {
    use super::Metric;

    #[test]
    fn an_advantage_is_above_one_whichever_way_a_metric_counts() {
        assert_eq!(Metric::HttpRequests.advantage(30.0, 20.0), 1.5);
        assert_eq!(Metric::HttpRequestCpu.advantage(20.0, 30.0), 1.5);
    }
}

//! Apache ActiveMQ Classic, from Debian: its MQTT, with the codec and without.

use std::{path::PathBuf, process::Command, thread::available_parallelism, time::Duration};

use anyhow::Result;

use crate::{
    brokers::recipe::{Load, Place, Programs, Recipe, Trial, version_of},
    netns,
};

/// Jolokia's own agent is not in Debian, its library is.
const JOLOKIA: &str = include_str!("activemq/Jolokia.java");

/// Where Debian keeps Java libraries.
const JARS: &str = "/usr/share/java";

/// The codec, and what it needs.
const CODEC: [&str; 3] = ["mqtt-client.jar", "hawtdispatch.jar", "hawtdispatch-transport.jar"];

pub(super) enum ActiveMq {
    Whole,
    /// As Debian's package is: the MQTT connector accepts connections, and kills them when the first packet comes.
    WithoutCodec,
}

impl Recipe for ActiveMq {
    fn name(&self) -> &'static str {
        match self {
            Self::Whole => "activemq",
            Self::WithoutCodec => "activemq-no-codec",
        }
    }

    fn broker(&self) -> &'static str {
        "activemq"
    }

    fn preset(&self) -> &'static str {
        "activemq-classic"
    }

    fn version(&self, _programs: &Programs) -> Result<String> {
        version_of(Command::new("dpkg-query").args(["--show", "activemq"]))
    }

    fn commands(&self, place: &Place<'_>) -> Result<Vec<Command>> {
        place.write("activemq.xml", CONFIG)?;
        place.write("Jolokia.java", JOLOKIA)?;
        place.write("manifest", "Premain-Class: Jolokia\n")?;
        let libraries = [format!("{JARS}/jolokia-core.jar"), format!("{JARS}/json-simple.jar")].join(":");
        netns::run(place.command("javac").args(["-cp", &libraries, "Jolokia.java"]))?;
        let jar = ["--create", "--file", "agent.jar", "--manifest", "manifest"];
        // The classes that were compiled: the file's own, and one for each nested one.
        netns::run(place.command("sh").args(["-c", &format!("jar {} *.class", jar.join(" "))]))?;

        let home = "/usr/share/activemq";
        let codec = CODEC.map(|jar| format!("{JARS}/{jar}")).join(":");
        let mut classes = format!("{libraries}:{home}/bin/activemq.jar:{home}/lib/*:{home}/lib/optional/*");
        if matches!(self, Self::Whole) {
            classes = format!("{classes}:{codec}");
        }
        let directory = place.directory.display();
        let mut broker = place.command("java");
        broker
            .args(["-Xmx256m", "-javaagent:agent.jar", "-cp", &classes])
            .arg(format!("-Dactivemq.home={home}"))
            .arg(format!("-Dactivemq.base={directory}"))
            .arg(format!("-Djava.io.tmpdir={directory}"))
            .args(["org.apache.activemq.console.Main", "start"])
            .arg(format!("xbean:file:{directory}/activemq.xml"));
        Ok(vec![broker])
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn tells_connections(&self) -> bool {
        true
    }

    fn tells_cpu(&self) -> bool {
        true
    }

    fn cores(&self) -> f64 {
        available_parallelism().map_or(1.0, |n| n.get() as f64)
    }

    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 20 }
    }

    fn login(&self, place: &Place<'_>) -> Result<Option<(&'static str, PathBuf)>> {
        Ok(Some(("admin", place.write("password", "lab\n")?)))
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Whole => Trial::Whole,
            Self::WithoutCodec => Trial::Deaf,
        }
    }
}

/// The schemas are those of the classes; nothing is fetched. In memory, so that a start finds nothing of an earlier life.
const CONFIG: &str = r#"<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="localhost" useJmx="true" persistent="false">
    <managementContext><managementContext createConnector="false"/></managementContext>
    <transportConnectors>
      <transportConnector name="mqtt" uri="mqtt+nio://0.0.0.0:1883"/>
    </transportConnectors>
  </broker>
</beans>
"#;

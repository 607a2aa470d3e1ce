//! Apache ActiveMQ Classic, from Debian: its MQTT, with the codec and without, its STOMP, and both over TLS.
//!
//! Debian's package has neither its AMQP nor its WebSocket connector.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    brokers::{
        authority::CA,
        link::Link,
        recipe::{Load, Place, Programs, Recipe, Trial, version_of},
    },
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
    /// STOMP, and TLS.
    Links,
}

impl Recipe for ActiveMq {
    fn name(&self) -> &'static str {
        match self {
            Self::Whole => "activemq",
            Self::WithoutCodec => "activemq-no-codec",
            Self::Links => "activemq-links",
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
        let (mut before, mut connectors) = ("", CONNECTOR.to_owned());
        if matches!(self, Self::Links) {
            make_keystore(place)?;
            before = TLS;
            connectors += LINKS;
        }
        let config = CONFIG.replace("{before}", before).replace("{connectors}", &connectors);
        place.write("activemq.xml", &config)?;
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
        if !matches!(self, Self::WithoutCodec) {
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

    fn load(&self) -> Load {
        Load { clients: 10, interval_ms: 20 }
    }

    fn login(&self, place: &Place<'_>) -> Result<Option<(&'static str, PathBuf)>> {
        Ok(Some(("admin", place.write("password", "lab\n")?)))
    }

    fn links(&self) -> &'static [Link] {
        const {
            &[
                Link::new("STOMP", 61613),
                Link::new("STOMP over TLS", 61612).tls(),
                Link::new("MQTT over TLS", 8883).tls(),
            ]
        }
    }

    fn trial(&self) -> Trial {
        match self {
            Self::Whole => Trial::Whole,
            Self::WithoutCodec => Trial::Deaf,
            Self::Links => Trial::Links,
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
    {before}
    <transportConnectors>{connectors}</transportConnectors>
  </broker>
</beans>
"#;

const CONNECTOR: &str = r#"<transportConnector name="mqtt" uri="mqtt+nio://0.0.0.0:1883"/>"#;

const LINKS: &str = r#"
      <transportConnector name="stomp" uri="stomp+nio://0.0.0.0:61613"/>
      <transportConnector name="stomps" uri="stomp+nio+ssl://0.0.0.0:61612"/>
      <transportConnector name="mqtts" uri="mqtt+nio+ssl://0.0.0.0:8883"/>"#;

const TLS: &str =
    r#"<sslContext><sslContext keyStore="file:broker.p12" keyStorePassword="changeit"/></sslContext>"#;

/// Makes a key with a certificate that it signed itself, which Java reads from nowhere but a store of its own.
fn make_keystore(place: &Place<'_>) -> Result<()> {
    if place.directory.join(CA).exists() {
        return Ok(());
    }
    let store = ["-alias", "broker", "-keystore", "broker.p12", "-storepass", "changeit"];
    let name = format!("san=ip:{}", place.host.v4);
    let mut keytool = place.command("keytool");
    keytool.args(["-genkeypair", "-keyalg", "EC", "-dname", "CN=broker", "-validity", "30", "-ext", &name]);
    netns::run(keytool.args(["-storetype", "PKCS12"]).args(store))?;
    let mut keytool = place.command("keytool");
    netns::run(keytool.args(["-exportcert", "-rfc", "-file", CA]).args(store)).map(|_| ())
}

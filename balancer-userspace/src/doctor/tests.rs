use crate::config;

use super::{Finding, Level, Report, run};

const CONFIG: &str = r#"
[datapath]
interfaces = ["one", "nowhere"]

[[service]]
name = "mqtt"
vip = "192.0.2.1"
port = 1883
preset = "mosquitto"

[[service.backend]]
name = "b1"
address = "10.9.0.2:1883"

[[service.backend]]
name = "b2"
address = "203.0.113.9:1883"
"#;

fn sample() -> Report {
    let mut report = Report::default();
    report.add(Finding::ok("kernel", "Linux 6.18"));
    report.add(Finding::warn("lro lan0", "is on").because("it merges").fix("ethtool -K lan0 lro off"));
    report
}

#[test]
fn a_report_for_people() {
    let expected = "ok    kernel    Linux 6.18\n\
                    warn  lro lan0  is on\n\
                    \x20               why: it merges\n\
                    \x20               fix: ethtool -K lan0 lro off\n\
                    2 examined, 1 to look at, 0 to mend\n";
    assert_eq!(sample().to_string(), expected);
}

#[test]
fn a_report_for_machines() {
    let json = serde_json::to_value(sample()).unwrap();
    assert_eq!(
        json["findings"][0],
        serde_json::json!({"level": "ok", "check": "kernel", "what": "Linux 6.18"})
    );
    assert_eq!(json["findings"][1]["fix"], "ethtool -K lan0 lro off");
    assert_eq!(sample().worst(), Level::Warn);
    assert_eq!(Report::default().worst(), Level::Ok);
}

#[test]
#[ignore = "needs root"]
fn faults_of_the_network_are_found() {
    crate::kernel::live::in_namespace(|| {
        crate::kernel::live::ip("addr add 10.9.0.1/24 dev one");
        let config = config::check(CONFIG).unwrap_or_else(|problems| panic!("{problems:?}")).config;
        let report = run(Some(&config));
        let find = |check: &str| {
            let found = report.findings.iter().find(|finding| finding.check == check);
            found.unwrap_or_else(|| panic!("nothing about {check} in\n{report}")).clone()
        };
        assert_eq!(find("interface one").level, Level::Ok);
        assert_eq!(find("interface nowhere").level, Level::Fail);
        let vip = find("vip 192.0.2.1");
        assert_eq!((vip.level, vip.fix.as_deref()), (Level::Warn, Some("ip addr add 192.0.2.1/32 dev one")));
        // The pair's other end is here too, but has no address: nobody answers.
        assert_eq!(find("backend 10.9.0.2").level, Level::Warn);
        assert_eq!(find("backend 203.0.113.9").level, Level::Fail);
        assert_eq!(find("veth one").fix.as_deref(), Some("ethtool -K two gro on tx off"));
        assert_eq!(find("privileges").level, Level::Ok);
        assert_eq!(find("maps").level, Level::Ok);
        assert_eq!(report.worst(), Level::Fail);
    });
}

//! The page of charts: one file that needs nothing else.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::{report::Report, stage::Phase};
use crate::{
    chart::{Axes, Mark, Series, draw},
    scene::watch::{Moment, by_broker},
};

const STYLE: &str = "body{font-family:sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:left}\
td.n{text-align:right}.held{color:#060}.broken{color:#b00;font-weight:bold}svg{max-width:100%;height:auto}";

/// Renders the page.
pub(super) fn render(report: &Report, phases: &[Phase], history: &[Moment]) -> Result<String> {
    let marks: Vec<Mark> =
        phases.iter().map(|phase| Mark { name: phase.name.to_owned(), at: phase.start }).collect();
    let connections = by_broker(history, |moment, broker| Some(moment.brokers[broker].connections as f64));
    let cpu = by_broker(history, |moment, broker| Some(moment.brokers[broker].cpu * 100.0));
    let score =
        by_broker(history, |moment, broker| moment.brokers[broker].said.as_ref().map(|said| said.score));
    let chart = |title, unit, series: &[Series]| draw(&Axes::over_time(title, unit), &marks, series);
    let charts = [
        chart("Connections of each broker, as the clients say", "connections", &connections)?,
        chart("CPU of each broker, of what it may use", "%", &cpu)?,
        chart("Score of each broker: the lowest gets the next flow", "score", &score)?,
    ];
    let mut page = String::new();
    write(&mut page, report, &charts).context("failed to write the page")?;
    Ok(page)
}

fn write(page: &mut String, report: &Report, charts: &[String]) -> std::fmt::Result {
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>balancer: the demo</title>\
         <style>{STYLE}</style><h1>balancer: the demo</h1>\
         <p>{} MQTT clients, {} flows, {} messages, three Mosquitto with unequal CPU.</p>",
        report.clients, report.flows, report.messages
    )?;
    page.push_str("<h2>Promises</h2><table><tr><th>promise<th><th>found");
    for promise in &report.promises {
        let (class, word) = if promise.held { ("held", "held") } else { ("broken", "broken") };
        let (what, found) = (escape(&promise.promise), escape(&promise.found));
        write!(page, "<tr><td>{what}<td class=\"{class}\">{word}<td>{found}")?;
    }
    page.push_str("</table><h2>Over time</h2>");
    for chart in charts {
        page.push_str(chart);
    }
    write_phases(page, report)?;
    page.push_str("<h2>Brokers at the end</h2><table><tr><th>broker<th>cores<th>CPU<th>connections");
    for backend in &report.backends {
        write!(
            page,
            "<tr><td>{}<td class=\"n\">{:.2}<td class=\"n\">{:.0} %<td class=\"n\">{}",
            escape(&backend.name),
            backend.cores,
            backend.cpu * 100.0,
            backend.connections
        )?;
    }
    page.push_str("</table></html>\n");
    Ok(())
}

fn write_phases(page: &mut String, report: &Report) -> std::fmt::Result {
    page.push_str("<h2>Phases</h2><table><tr><th>phase<th>what happens<th>from<th>to<th>new flows");
    for backend in &report.backends {
        write!(page, "<th>{}", escape(&backend.name))?;
    }
    for phase in &report.phases {
        write!(
            page,
            "<tr><td>{}<td>{}<td class=\"n\">{:.0} s<td class=\"n\">{:.0} s<td class=\"n\">{}",
            escape(&phase.name),
            escape(&phase.what),
            phase.start_seconds,
            phase.end_seconds,
            phase.new_flows
        )?;
        for backend in &report.backends {
            match phase.shares.get(&backend.name) {
                Some(share) => write!(page, "<td class=\"n\">{:.0} %", share * 100.0)?,
                None => page.push_str("<td>"),
            }
        }
    }
    page.push_str("</table>");
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use balancer_userspace::api::wire::BackendState;

    use super::*;
    use crate::{
        load::Records,
        scene::watch::{Said, Sight},
    };

    /// The agent is dead in the middle.
    fn moment(at: f64) -> Moment {
        let sight = |index: u64| Sight {
            name: format!("broker{index}"),
            cores: 0.1,
            connections: (at as u64) * (3 - index),
            cpu: 0.2 * index as f64 + (at / 10.0).sin().abs() / 4.0,
            said: (!(20.0..30.0).contains(&at)).then_some(Said {
                live: 1,
                score: 0.1 * index as f64 + at / 100.0,
                state: BackendState::Up,
            }),
        };
        Moment {
            at,
            agent: true,
            totals: Default::default(),
            message_rate: 1.0,
            brokers: (0..3).map(sight).collect(),
        }
    }

    #[test]
    fn the_page_stands_alone_and_shows_every_phase_and_broker() {
        let history: Vec<Moment> = (0..100).map(|n| moment(f64::from(n) / 2.0)).collect();
        let phase = |name, start: f64| Phase {
            name,
            what: format!("<{name}> & more"),
            start,
            end: start + 20.0,
            flows: BTreeMap::from([("broker1".to_owned(), 3), ("broker2".to_owned(), 1)]),
            broken: 0..0,
            failed: 0,
        };
        let phases = [phase("spread", 0.0), phase("load", 20.0)];
        let report = Report::new(&phases, &history, &Records::default(), Err("broker0 has 1 & 2".to_owned()));
        let page = render(&report, &phases, &history).unwrap();
        assert_eq!(page.matches("<svg").count(), 3);
        // One line and one entry of the legend each; the score has a gap, so two lines.
        assert_eq!(page.matches("stroke-width=\"2\"").count(), 3 * (2 + 2 + 3));
        assert!(page.contains("&lt;load&gt; &amp; more") && page.contains("broker0 has 1 &amp; 2"));
        assert!(page.contains("<td class=\"n\">75 %<td class=\"n\">25 %"));
        assert_eq!(
            page.matches("http").count(),
            page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
        );
        assert!(!page.contains("<script") && !page.contains("src="));
    }
}

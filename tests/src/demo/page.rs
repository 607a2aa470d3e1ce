//! The page of charts: one file that needs nothing else.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::{chart::draw, report::Report, stage::Phase, watch::Moment};

const STYLE: &str = "body{font-family:sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:left}\
td.n{text-align:right}.held{color:#060}.broken{color:#b00;font-weight:bold}svg{max-width:100%;height:auto}";

/// Renders the page.
pub(super) fn render(report: &Report, phases: &[Phase], history: &[Moment]) -> Result<String> {
    let charts = [
        draw(
            "Connections of each broker, as the clients say",
            "connections",
            phases,
            history,
            |moment, broker| Some(moment.brokers[broker].connections as f64),
        )?,
        draw("CPU of each broker, of what it may use", "%", phases, history, |moment, broker| {
            Some(moment.brokers[broker].cpu * 100.0)
        })?,
        draw(
            "Score of each broker: the lowest gets the next flow",
            "score",
            phases,
            history,
            |moment, broker| moment.brokers[broker].said.as_ref().map(|said| said.score),
        )?,
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

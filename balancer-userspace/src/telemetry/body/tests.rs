use bytes::Bytes;

use super::{Answer, Format, text};

fn answer(content_type: &str, body: &'static [u8], delimited: bool) -> Answer {
    Answer { content_type: content_type.to_owned(), body: Bytes::from_static(body), delimited }
}

fn error(answer: &Answer) -> String {
    text(answer, "http://broker1/metrics", Format::Prometheus).unwrap_err().to_string()
}

#[test]
fn a_page_of_metrics_passes_whatever_its_type_is_called() {
    for kind in ["text/plain; version=0.0.4; charset=utf-8", "", "application/openmetrics-text", "text/plain"]
    {
        assert_eq!(text(&answer(kind, b"x 1\n", false), "x", Format::Prometheus).unwrap(), "x 1\n");
    }
}

#[test]
fn something_else_is_named() {
    let html = "http://broker1/metrics: 200 but body is text/html (login page?)";
    assert_eq!(error(&answer("text/html; charset=utf-8", b"<!DOCTYPE html>", true)), html);
    assert_eq!(error(&answer("Text/HTML", b"x 1\n", true)), html);
    assert!(error(&answer("", b"\n\n  <html>", true)).contains("markup (login page?)"));
    assert!(error(&answer("application/json", b"{}", true)).contains("application/json"));
    assert!(error(&answer("text/plain", b" \n ", true)).contains("empty"));
    assert!(error(&answer("text/plain", b"x 1\n\xff\xfe", true)).contains("not UTF-8 from byte 4 on"));
}

#[test]
fn a_page_that_may_be_cut_short_is_no_reading() {
    assert!(error(&answer("text/plain", b"x 1\ny 12", false)).contains("cut short after 8 bytes"));
    assert!(
        text(&answer("text/plain", b"x 1\ny 12", true), "x", Format::Prometheus).is_ok(),
        "its length was told"
    );
}

#[test]
fn json_passes_whatever_its_type_is_called() {
    for kind in ["application/json", "text/plain; charset=utf-8", ""] {
        assert_eq!(text(&answer(kind, b"{}", false), "x", Format::Json).unwrap(), "{}");
    }
    let page = answer("text/html", b"<html>", true);
    let error = text(&page, "http://broker1/varz", Format::Json).unwrap_err().to_string();
    assert_eq!(error, "http://broker1/varz: 200 but body is text/html (login page?)");
}

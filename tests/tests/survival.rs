//! A short form of the faults, and that a row fails when it has to.

use balancer_tests::faults::{Row, play_named, play_short};

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn faults_break_and_lose_nothing() {
    let rows = play_short(1).unwrap();
    let bad: Vec<_> = rows.iter().filter(|row| !row.ok()).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(rows.iter().all(|row| row.flows_before > 0 && row.connects > 0), "{rows:#?}");
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn a_row_fails_when_the_data_path_is_taken_away() {
    let row: Row = play_named("agent-killed", 1, true).unwrap();
    assert!(!row.ok(), "{row:#?}");
    assert!(row.flows_broken >= row.flows_before, "{row:#?}");
}

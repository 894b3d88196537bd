//! Whether each normative statement that binds a server has a case that carries its number.
//!
//! A case is a test function whose name begins with statement numbers ([`names`]), or a row of
//! `dataplane/mqtt/tests/codec/data/reactions.txt` that names them in its last cell. Run with
//! `--nocapture` to read the whole table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

mod cases;
mod names;
mod statement;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cases::Case;
use statement::{Id, Standard, Statement};

const DUE_LATER: &str = include_str!("due_later.txt");

#[test]
fn every_statement_of_mqtt_5_that_binds_a_server_has_a_case() {
    check(Standard::V5);
}

#[test]
fn every_statement_of_mqtt_3_1_1_that_binds_a_server_has_a_case() {
    check(Standard::V311);
}

#[test]
fn every_number_is_written_as_the_checker_reads_it() {
    let unreadable = cases::all().err().unwrap_or_default();
    assert!(unreadable.is_empty(), "{}", unreadable.join("\n"));
}

#[test]
fn what_is_due_later_names_its_standard() {
    for row in statement::rows(DUE_LATER) {
        assert!(row[0].parse::<Standard>().is_ok(), "{row:?}");
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the test is for")]
fn check(standard: Standard) {
    let table = Table {
        statements: statement::list(standard),
        cases: cases::all().unwrap(),
        due_later: due_later(standard, DUE_LATER),
        standard,
    };
    println!("{}", table.report());
    let problems = table.problems();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// What is excepted, by statement: the reasons.
fn due_later(standard: Standard, text: &str) -> BTreeMap<Id, String> {
    statement::rows(text)
        .filter(|row| row[0].parse() == Ok(standard))
        .map(|row| (row[1].parse().unwrap(), row[2].to_owned()))
        .collect()
}

/// One standard's statements against the cases.
struct Table {
    standard: Standard,
    statements: BTreeMap<Id, Statement>,
    cases: Vec<Case>,
    due_later: BTreeMap<Id, String>,
}

impl Table {
    /// Statement by statement, the cases that prove it.
    fn report(&self) -> String {
        let mut report = String::new();
        for (id, statement) in &self.statements {
            let cases = self.cases_of(*id);
            writeln!(
                report,
                "{} {id} [{}] {}",
                self.standard, statement.binds, statement.text
            )
            .unwrap();
            for (count, case) in folded(&cases) {
                let more = if count > 1 {
                    format!(" and {} more", count - 1)
                } else {
                    String::new()
                };
                writeln!(report, "    {}: {}{more}", case.file, case.name).unwrap();
            }
            if let Some(reason) = self.due_later.get(id) {
                writeln!(report, "    due later: {reason}").unwrap();
            }
        }
        report
    }

    /// Why the table does not hold.
    fn problems(&self) -> Vec<String> {
        let standard = self.standard;
        let mut problems = Vec::new();
        for (id, statement) in &self.statements {
            let is_excepted = self.due_later.contains_key(id);
            let has_case = !self.cases_of(*id).is_empty();
            if statement.binds.is_server() && !has_case && !is_excepted {
                problems.push(format!("{standard} {id} has no case: {}", statement.text));
            }
            if has_case && is_excepted {
                problems.push(format!("{standard} {id} has a case and is due later"));
            }
        }
        for (id, reason) in &self.due_later {
            if !self.statements.contains_key(id) {
                problems.push(format!("{standard} {id} is due later and unknown"));
            }
            if reason.trim().is_empty() {
                problems.push(format!("{standard} {id} is due later for no reason"));
            }
        }
        for case in &self.cases {
            for (_, id) in case.proves.iter().filter(|(of, _)| *of == standard) {
                if !self.statements.contains_key(id) {
                    problems.push(format!("{}: {} names {id}", case.file, case.name));
                }
            }
        }
        problems
    }

    fn cases_of(&self, id: Id) -> Vec<&Case> {
        let cases = self.cases.iter();
        cases
            .filter(|case| case.proves.contains(&(self.standard, id)))
            .collect()
    }
}

/// The cases with the rows of one file counted as one.
fn folded<'a>(cases: &[&'a Case]) -> Vec<(usize, &'a Case)> {
    let mut folded: Vec<(usize, &Case)> = Vec::new();
    for case in cases {
        match folded.last_mut() {
            Some((count, last)) if case.is_row && last.is_row => *count += 1,
            Some(_) | None => folded.push((1, case)),
        }
    }
    folded
}

fn table(cases: &[&str], due_later_text: &str) -> Table {
    let statements = "1.1.1-1 | S | one\n1.1.1-2 | B | two\n1.1.1-3 | C | three";
    let cases = cases.iter().map(|name| Case {
        proves: names::proved_by(name).unwrap(),
        name: (*name).to_owned(),
        file: "a.rs".to_owned(),
        is_row: false,
    });
    Table {
        standard: Standard::V5,
        statements: statement::parse(statements),
        cases: cases.collect(),
        due_later: due_later(Standard::V5, due_later_text),
    }
}

#[test]
fn a_table_without_holes_has_no_problems() {
    let whole = table(&["v5_mqtt_1_1_1_1_and_2_go_together"], "");
    assert!(whole.problems().is_empty());
    let excepted = table(&["v5_mqtt_1_1_1_1_alone"], "v5 | 1.1.1-2 | comes later");
    assert!(excepted.problems().is_empty());
}

#[test]
fn holes_unknown_numbers_and_idle_exceptions_are_problems() {
    let one = "v5_mqtt_1_1_1_1_alone";
    let both = "v5_mqtt_1_1_1_1_and_2_go_together";
    let cases: [(&[&str], &str, &str); 6] = [
        (&[one], "", "1.1.1-2 has no case"),
        (
            &[one, "v3_mqtt_1_1_1_2_elsewhere"],
            "",
            "1.1.1-2 has no case",
        ),
        (&[both, "v5_mqtt_1_1_1_4_nothing"], "", "names 1.1.1-4"),
        (
            &[both],
            "v5 | 1.1.1-2 | later",
            "has a case and is due later",
        ),
        (&[one], "v5 | 1.1.1-2 | ", "for no reason"),
        (&[both], "v5 | 1.1.1-9 | later", "due later and unknown"),
    ];
    for (names, due_later_text, expected) in cases {
        let problems = table(names, due_later_text).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?}");
    }
}

//! The lists of statements.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Whose statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standard {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// The number of a statement, as `[MQTT-3.1.2-8]` without its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) clause: [u16; 3],
    pub(crate) number: u16,
}

/// Whom a statement binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binds {
    Server,
    Client,
    Both,
}

/// One statement.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) binds: Binds,
    pub(crate) text: String,
}

/// All statements of a standard.
pub(crate) fn list(standard: Standard) -> BTreeMap<Id, Statement> {
    parse(match standard {
        Standard::V311 => include_str!("mqtt311.txt"),
        Standard::V5 => include_str!("mqtt5.txt"),
    })
}

/// Reads a list: `id | whom | text`.
pub(crate) fn parse(text: &str) -> BTreeMap<Id, Statement> {
    let mut statements = BTreeMap::new();
    for [id, binds, text] in rows(text) {
        let statement = Statement {
            binds: binds.parse().unwrap(),
            text: text.to_owned(),
        };
        let before = statements.insert(id.parse().unwrap(), statement);
        assert!(before.is_none(), "{id} is listed twice");
    }
    statements
}

/// The rows of a data file of three cells.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = [&str; 3]> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut cells = line.splitn(3, " | ");
        std::array::from_fn(|_| cells.next().expect(line))
    })
}

impl Binds {
    /// Whether a server must obey it.
    pub(crate) fn is_server(self) -> bool {
        match self {
            Self::Server | Self::Both => true,
            Self::Client => false,
        }
    }
}

/// What could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl FromStr for Standard {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        match text {
            "v3" => Ok(Self::V311),
            "v5" => Ok(Self::V5),
            _ => Err(Unreadable),
        }
    }
}

impl FromStr for Binds {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        match text {
            "S" => Ok(Self::Server),
            "C" => Ok(Self::Client),
            "B" => Ok(Self::Both),
            _ => Err(Unreadable),
        }
    }
}

impl FromStr for Id {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (clause, number) = text.split_once('-').ok_or(Unreadable)?;
        let mut parts = clause.split('.').map(str::parse);
        let mut part = || parts.next().and_then(Result::ok).ok_or(Unreadable);
        let clause = [part()?, part()?, part()?];
        let number = number.parse().map_err(|_| Unreadable)?;
        match parts.next() {
            None => Ok(Self { clause, number }),
            Some(_) => Err(Unreadable),
        }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

impl fmt::Display for Binds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "S",
            Self::Client => "C",
            Self::Both => "B",
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.clause;
        write!(f, "{a}.{b}.{c}-{}", self.number)
    }
}

#[test]
fn a_number_is_a_clause_of_three_parts_and_a_place_in_it() {
    let id: Id = "3.1.2-8".parse().unwrap();
    assert_eq!(id.to_string(), "3.1.2-8");
    for text in ["3.1-8", "3.1.2", "3.1.2.4-8", "a.1.2-8", "3.1.2-"] {
        assert_eq!(text.parse::<Id>(), Err(Unreadable), "{text}");
    }
}

//! The numbers in the name of a test, and in the last cell of a data row.
//!
//! ```text
//! v5_mqtt_3_8_4_1_and_2_and_3_9_3_1_and_v3_mqtt_3_8_4_1_suback_has_a_code_per_filter
//! └─ of MQTT 5.0:         └ the same clause                └─ a sentence
//!    3.8.4-1              3.8.4-2, 3.9.3-1, and 3.8.4-1 of MQTT 3.1.1
//! ```

use crate::statement::{Id, Standard};

/// The statements that a name says it proves; none if it says so of none.
///
/// # Errors
/// It begins like such a name and goes on differently.
pub(crate) fn proved_by(name: &str) -> Result<Vec<(Standard, Id)>, String> {
    let words: Vec<&str> = name.split('_').collect();
    if !is_switch(&words) {
        return Ok(Vec::new());
    }
    let mut reader = Reader {
        name,
        words: &words,
        standard: Standard::V5,
        clause: [0; 3],
        proves: Vec::new(),
    };
    reader.read_group()?;
    while let ["and", rest @ ..] = reader.words
        && (is_switch(rest) || leading_numbers(rest) > 0)
    {
        reader.words = rest;
        reader.read_group()?;
    }
    if reader.words.is_empty() {
        return Err(format!("{name}: no sentence after the numbers"));
    }
    Ok(reader.proves)
}

/// The statements of a cell like `v5 1.5.4-1 1.5.4-2 v3 1.5.3-1`.
///
/// # Errors
/// A word is neither a standard nor a number.
pub(crate) fn proved_by_cell(cell: &str) -> Result<Vec<(Standard, Id)>, String> {
    let mut of = None;
    let mut proves = Vec::new();
    for word in cell.split_whitespace() {
        if let Ok(standard) = word.parse() {
            of = Some(standard);
            continue;
        }
        match (of, word.parse()) {
            (Some(standard), Ok(id)) => proves.push((standard, id)),
            (None, _) | (_, Err(_)) => return Err(format!("{cell}: {word} is not understood")),
        }
    }
    Ok(proves)
}

struct Reader<'a> {
    name: &'a str,
    words: &'a [&'a str],
    standard: Standard,
    clause: [u16; 3],
    proves: Vec<(Standard, Id)>,
}

impl Reader<'_> {
    /// `v5_mqtt_A_B_C_N`, `A_B_C_N`, or `N` of the clause before.
    fn read_group(&mut self) -> Result<(), String> {
        let switches = is_switch(self.words);
        if let [standard, "mqtt", rest @ ..] = self.words
            && let Ok(standard) = standard.parse()
        {
            self.standard = standard;
            self.words = rest;
        }
        let count = leading_numbers(self.words);
        let unclear = || format!("{}: {count} numbers in a row", self.name);
        let numbers = self.words[..count].iter().map(|word| word.parse::<u16>());
        let numbers: Vec<u16> = numbers.collect::<Result<_, _>>().map_err(|_| unclear())?;
        let number = match numbers[..] {
            [a, b, c, number] => {
                self.clause = [a, b, c];
                number
            }
            [number] if !switches => number,
            _ => return Err(unclear()),
        };
        let clause = self.clause;
        self.proves.push((self.standard, Id { clause, number }));
        self.words = &self.words[count..];
        Ok(())
    }
}

fn is_switch(words: &[&str]) -> bool {
    matches!(words, ["v3" | "v5", "mqtt", ..])
}

fn leading_numbers(words: &[&str]) -> usize {
    let is_number = |word: &&&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    words.iter().take_while(is_number).count()
}

fn read(name: &str) -> Vec<String> {
    let proves = proved_by(name).unwrap();
    let proves = proves.iter();
    proves.map(|(of, id)| format!("{of} {id}")).collect()
}

#[test]
fn a_name_carries_numbers_of_one_clause_of_several_and_of_both_standards() {
    let cases: [(&str, &[&str]); 5] = [
        ("v5_mqtt_3_1_2_8_a_will", &["5.0 3.1.2-8"]),
        (
            "v5_mqtt_3_1_2_8_and_10_and_only_then",
            &["5.0 3.1.2-8", "5.0 3.1.2-10"],
        ),
        (
            "v5_mqtt_3_8_4_1_and_3_9_3_1_and_2_x",
            &["5.0 3.8.4-1", "5.0 3.9.3-1", "5.0 3.9.3-2"],
        ),
        (
            "v5_mqtt_3_8_4_1_and_v3_mqtt_3_8_4_2_and_5_x",
            &["5.0 3.8.4-1", "3.1.1 3.8.4-2", "3.1.1 3.8.4-5"],
        ),
        ("a_sentence_of_3_words", &[]),
    ];
    for (name, expected) in cases {
        assert_eq!(read(name), expected, "{name}");
    }
}

#[test]
fn a_name_with_unclear_numbers_is_an_error() {
    for name in [
        "v5_mqtt_3_1_2_will",
        "v5_mqtt_3_1_2_8_100_bytes",
        "v5_mqtt_3_1_2_8_and_9_10_x",
        "v5_mqtt_3_1_2_8_and_v3_mqtt_8_x",
        "v5_mqtt_3_1_2_8",
    ] {
        assert!(proved_by(name).is_err(), "{name}");
    }
}

#[test]
fn a_cell_names_standards_and_numbers() {
    let proves = proved_by_cell("v5 1.5.4-1 1.5.4-2 v3 1.5.3-1").unwrap();
    assert_eq!(proves.len(), 3);
    assert_eq!(proves[2].0, Standard::V311);
    for cell in ["1.5.4-1", "v5 1.5.4", "v4 1.5.4-1"] {
        assert!(proved_by_cell(cell).is_err(), "{cell}");
    }
}

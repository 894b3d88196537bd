//! The cases: test functions that run, and rows of data.

use std::fs;
use std::path::{Path, PathBuf};

use crate::names::{proved_by, proved_by_cell};
use crate::statement::{Id, Standard};

/// Folders of integration tests, below the project's root.
const TEST_FOLDERS: [&str; 4] = [
    "dataplane/mqtt/tests",
    "dataplane/session/tests",
    "dataplane/frontend/tests",
    "tenant-sdk/cli/tests",
];

/// Rows that `dataplane/mqtt` and `dataplane/session` run: numbers stand in the cell after these.
const REACTIONS: &str = "dataplane/mqtt/tests/codec/data/reactions.txt";
const REACTION_CELLS: usize = 6;

/// Something that runs and proves statements.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Below the project's root.
    pub(crate) file: String,
    /// A row of data rather than a function.
    pub(crate) is_row: bool,
    pub(crate) proves: Vec<(Standard, Id)>,
}

/// Every case with a number.
///
/// # Errors
/// The numbers that cannot be read.
pub(crate) fn all() -> Result<Vec<Case>, Vec<String>> {
    let mut cases = Vec::new();
    let mut unreadable = Vec::new();
    for found in functions().into_iter().chain(rows()) {
        match found {
            Ok(case) if case.proves.is_empty() => {}
            Ok(case) => cases.push(case),
            Err(why) => unreadable.push(why),
        }
    }
    if unreadable.is_empty() {
        return Ok(cases);
    }
    Err(unreadable)
}

fn functions() -> Vec<Result<Case, String>> {
    let mut functions = Vec::new();
    for folder in TEST_FOLDERS {
        for path in files_of(&root().join(folder)) {
            let file = below_root(&path);
            for name in tests_of(&read(&path)) {
                let proves = proved_by(&name).map_err(|why| format!("{file}: {why}"));
                functions.push(proves.map(|proves| Case {
                    name,
                    file: file.clone(),
                    is_row: false,
                    proves,
                }));
            }
        }
    }
    functions
}

fn rows() -> Vec<Result<Case, String>> {
    let table = read(&root().join(REACTIONS));
    let rows = table.lines().filter(|row| !row.starts_with('#'));
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let proves = proved_by_cell(cells.get(REACTION_CELLS)?);
        Some(proves.map(|proves| Case {
            name: format!("row {} {}", cells[0], cells[1]),
            file: REACTIONS.to_owned(),
            is_row: true,
            proves,
        }))
    });
    rows.collect()
}

/// The files that cargo builds below a folder of integration tests: each binary's, and the modules
/// that they declare. A file that nobody declares proves nothing.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of tests")
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        let main = entry.join("main.rs");
        if main.is_file() {
            collect(main, &entry, &mut files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            collect(entry, folder, &mut files);
        }
    }
    files
}

/// The file and the modules that it declares, which lie in `folder`. One that `#[path]` takes from
/// elsewhere holds no cases.
fn collect(file: PathBuf, folder: &Path, files: &mut Vec<PathBuf>) {
    for module in modules_of(&read(&file)) {
        let inner = folder.join(&module);
        let places = [folder.join(format!("{module}.rs")), inner.join("mod.rs")];
        if let Some(path) = places.into_iter().find(|place| place.is_file()) {
            collect(path, &inner, files);
        }
    }
    files.push(file);
}

fn modules_of(source: &str) -> Vec<String> {
    let lines = source.lines().map(str::trim);
    let modules = lines.filter_map(|line| {
        let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    modules.map(str::to_owned).collect()
}

/// The names of the functions that the test runner runs.
fn tests_of(source: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let mut attributes: Vec<String> = Vec::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.starts_with("#[") {
            let mut attribute = line.to_owned();
            while depth(&attribute) > 0 {
                attribute.push_str(lines.next().expect("the end of an attribute"));
            }
            attributes.push(attribute);
        } else if !line.is_empty() && !line.starts_with("//") {
            let runs = attributes.iter().any(|attribute| is_test(attribute));
            let ignored = attributes.iter().any(|text| text.starts_with(IGNORED));
            if let (Some(name), true, false) = (function_of(line), runs, ignored) {
                tests.push(name.to_owned());
            }
            attributes.clear();
        }
    }
    tests
}

/// How the attribute of a test begins that the runner leaves out.
const IGNORED: &str = concat!("#[ign", "ore");

fn is_test(attribute: &str) -> bool {
    attribute == "#[test]" || attribute.starts_with("#[tokio::test")
}

fn function_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = line.strip_prefix("fn ")?.split_once(['(', '<'])?;
    Some(name)
}

/// How many square brackets are open.
fn depth(text: &str) -> usize {
    let count = |bracket| text.matches(bracket).count();
    count('[').saturating_sub(count(']'))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn below_root(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap_or(path);
    below.display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn only_functions_that_run_are_cases() {
    let source = "
        fn v5_helper() {}
        #[test]
        fn plain() {}
        #[tokio::test(flavor = \"multi_thread\")]
        /// Documented.
        async fn on_a_runtime() {}
        proptest! {
            #[test]
            fn with_arguments(bytes: Vec<u8>) {}
        }
        #[test]
        IGNORED = \"slow\"]
        fn ignored() {}
        #[test]
        #[expect(
            lint,
            reason = \"x\",
        )]
        fn with_a_long_attribute() {}
        // #[test]
        fn commented_out() {}
        #[cfg(test)]
        fn helper() {}
    "
    .replace("IGNORED", IGNORED);
    assert_eq!(
        tests_of(&source),
        [
            "plain",
            "on_a_runtime",
            "with_arguments",
            "with_a_long_attribute"
        ]
    );
}

#[test]
fn this_very_file_is_found_by_the_modules_that_lead_to_it() {
    let files = files_of(&root().join("dataplane/session/tests"));
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("conformance/cases.rs"))
    );
    assert_eq!(
        modules_of("mod a;\npub(crate) mod b;\nmod c {}\nuse d;"),
        ["a", "b"]
    );
}

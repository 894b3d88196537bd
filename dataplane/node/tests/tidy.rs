//! The house rules that a compiler does not hold: arrows between crates, sizes, homes of outside
//! crates, numbered migrations, a map that names every room.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

/// Longest source file. One that must be longer stands in [`LONG_FILES`] with its reason.
const FILE_LINES_MAX: usize = 800;

/// Files over [`FILE_LINES_MAX`], each with a reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// The row of each crate: it may use only rows below its own (ARCHITECTURE.md, "Rooms and arrows").
const ROWS: [(&str, u8); 20] = [
    ("tessera-tenancy", 0),
    ("tessera-mqtt", 1),
    ("tessera-shard", 1),
    ("tessera-session", 2),
    ("tessera-limits", 2),
    ("tessera-config", 2),
    ("tessera-domain", 2),
    ("tessera-api-types", 2),
    ("tessera-dist", 3),
    ("tessera-inbox", 3),
    ("tessera-retain", 3),
    ("tessera-push", 3),
    ("tessera-store", 3),
    ("tessera-frontend", 4),
    ("tessera-sdk", 4),
    ("tessera-node", 5),
    ("tessera-sim", 5),
    ("tessera-api", 5),
    ("tessera-cli", 6),
    ("tessera-loadtests", 6),
];

/// Crates of the data plane, and those of the control plane that it must never see.
const CONTROL_PLANE: [&str; 5] = [
    "tessera-domain",
    "tessera-api-types",
    "tessera-store",
    "tessera-push",
    "tessera-api",
];

/// The only homes of outside crates that shape the product.
const HOMES: [(&str, &[&str]); 8] = [
    ("openraft", &["tessera-shard"]),
    ("redb", &["tessera-shard"]),
    ("sqlx", &["tessera-store"]),
    ("axum", &["tessera-api", "tessera-node"]),
    ("governor", &["tessera-limits"]),
    ("prometheus", &["tessera-node"]),
    ("socket2", &["tessera-frontend"]),
    ("clap", &["tessera-cli", "tessera-loadtests", "tessera-sim"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
}

/// Dependencies of each crate of the workspace, those of tests left out.
fn arrows() -> Vec<(String, Vec<String>)> {
    metadata()
        .packages
        .iter()
        .map(|package| {
            let dependencies = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != cargo_metadata::DependencyKind::Development)
                .map(|dependency| dependency.name.clone())
                .collect();
            (package.name.to_string(), dependencies)
        })
        .collect()
}

fn files_below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files_below(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_below(&root(), ".rs", &mut found);
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn every_arrow_points_to_a_lower_row() {
    let rows: BTreeMap<&str, u8> = ROWS.into_iter().collect();
    for (name, dependencies) in arrows() {
        let row = rows
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no row"));
        for dependency in dependencies.iter().filter(|d| d.starts_with("tessera-")) {
            let below = rows[dependency.as_str()];
            assert!(
                below < *row,
                "{name} (row {row}) uses {dependency} (row {below})"
            );
        }
    }
}

#[test]
fn the_data_plane_does_not_know_the_control_plane() {
    for package in &metadata().packages {
        if !package.manifest_path.as_str().contains("/dataplane/") {
            continue;
        }
        for dependency in &package.dependencies {
            let known = CONTROL_PLANE.contains(&dependency.name.as_str());
            assert!(!known, "{} uses {}", package.name, dependency.name);
        }
    }
}

#[test]
fn outside_crates_live_in_their_homes() {
    for (name, dependencies) in arrows() {
        for (outside, homes) in HOMES {
            let used = dependencies.iter().any(|dependency| dependency == outside);
            assert!(
                !used || homes.contains(&name.as_str()),
                "{name} uses {outside}"
            );
        }
    }
}

#[test]
fn files_are_short() {
    for path in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let name = relative(&path);
        let listed = LONG_FILES.iter().any(|(file, _)| *file == name);
        assert!(
            lines <= FILE_LINES_MAX || listed,
            "{name} has {lines} lines"
        );
    }
}

#[test]
fn every_crate_opens_with_its_contents() {
    for package in &metadata().packages {
        for target in &package.targets {
            let text = fs::read_to_string(&target.src_path).unwrap();
            assert!(
                text.starts_with("//!"),
                "{} does not open with //!",
                target.src_path
            );
        }
    }
}

#[test]
fn modules_have_no_mod_rs_under_src() {
    for path in sources() {
        let name = relative(&path);
        assert!(
            !(name.contains("/src/") && name.ends_with("/mod.rs")),
            "{name}"
        );
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let banned = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
    ];
    let ignored = concat!("#[ign", "ore");
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for word in banned.into_iter().chain([ignored]) {
            assert!(!text.contains(word), "{} holds {word}", relative(&path));
        }
    }
}

#[test]
fn apply_reads_no_clock_and_no_random_source() {
    let banned = [
        "SystemTime::now",
        "Instant::now",
        "getrandom",
        "thread_rng",
        "RandomState",
    ];
    for path in sources() {
        let name = relative(&path);
        let pure = name.ends_with("/apply.rs")
            || name.contains("/apply/")
            || name.starts_with("dataplane/mqtt/src")
            || name.starts_with("dataplane/session/src")
            || name.starts_with("dataplane/tenancy/src")
            || name.starts_with("controlplane/domain/src");
        if !pure {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for word in banned {
            assert!(!text.contains(word), "{name} holds {word}");
        }
    }
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut found = Vec::new();
    files_below(&root().join("migrations"), ".sql", &mut found);
    let mut names: Vec<String> = found
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no migration");
    for (at, name) in names.iter().enumerate() {
        assert!(
            name.starts_with(&format!("{:04}_", at + 1)),
            "{name} is not number {}",
            at + 1
        );
    }
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for package in &metadata().packages {
        let folder = package.manifest_path.parent().unwrap();
        let room = relative(folder.as_std_path());
        assert!(map.contains(&room), "ARCHITECTURE.md does not name {room}");
    }
    assert!(
        map.lines().count() <= 300,
        "ARCHITECTURE.md is longer than 300 lines"
    );
}

#[test]
fn source_files_name_no_place_of_the_machine_that_they_were_written_on() {
    let home = concat!("/ro", "ot/");
    let work = concat!("/wo", "rk/");
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains(work) && !text.contains(home),
            "{}",
            relative(&path)
        );
    }
}

//! The committed descriptions of the store's queries are what the database says of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

use crate::rig::Rig;

const ADVICE: &str = "run controlplane/store/prepare-queries.sh";

#[tokio::test]
async fn what_is_committed_is_what_the_database_says() {
    let rig = Rig::start().await;
    let mut owner = rig.database.owner().await;
    let committed = committed();
    assert!(committed.len() > 40);
    for (name, file) in committed {
        let query = AssertSqlSafe(file["query"].as_str().unwrap().to_owned()).into_sql_str();
        let described = owner.describe(query).await;
        let described = described.unwrap_or_else(|error| panic!("{name}: {error}; {ADVICE}"));
        let described = serde_json::to_value(&described).unwrap();
        assert_eq!(described, file["describe"], "{name}: {ADVICE}");
    }
}

#[test]
fn no_description_is_left_of_a_query_that_is_gone() {
    let store = store();
    let mut source = String::new();
    for entry in std::fs::read_dir(store.join("src")).unwrap() {
        source += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let queries: BTreeSet<_> = committed()
        .into_iter()
        .map(|(_, file)| file["query"].to_string())
        .collect();
    for query in queries {
        let text: String = serde_json::from_str(&query).unwrap();
        assert!(source.contains(&text), "{ADVICE}: {text}");
    }
}

fn store() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../store")
}

fn committed() -> Vec<(String, Value)> {
    let folder = std::fs::read_dir(store().join(".sqlx")).unwrap();
    let files = folder.map(|entry| {
        let path = entry.unwrap().path();
        let file = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            file,
        )
    });
    files.collect()
}

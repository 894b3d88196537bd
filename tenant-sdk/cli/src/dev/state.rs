//! What one start leaves for the next: its ports, and which database the data belongs to.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::private_file;

/// The name of the private cluster where a database's identity stands.
const PRIVATE: &str = "private";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) mqtt_port: Option<u16>,
    pub(crate) api_port: Option<u16>,
    pub(crate) admin_port: Option<u16>,
    /// Set once the first start came far enough to write to it.
    pub(crate) database: Option<String>,
}

/// The folder's data and the database do not belong together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data folder belongs to {known}, and this start would use {given}: start it with the same \
     database, or give another --data-dir"
)]
pub(crate) struct OtherDatabase {
    known: String,
    given: String,
}

impl State {
    /// The former state; none is an empty one.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        private_file::replace(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Binds the data to its database: nodes hold revisions of one history only.
    pub(crate) fn bind_database(&mut self, url: Option<&str>) -> Result<(), OtherDatabase> {
        let given = url.map_or_else(|| PRIVATE.to_owned(), identity);
        match &self.database {
            Some(known) if *known != given => {
                let name = |identity: &str| match identity {
                    PRIVATE => "its private database".to_owned(),
                    url => format!("the database {url}"),
                };
                Err(OtherDatabase {
                    known: name(known),
                    given: name(&given),
                })
            }
            Some(_) => Ok(()),
            None => {
                self.database = Some(given);
                Ok(())
            }
        }
    }
}

/// A database's address without who connects: neither name nor password is written down.
fn identity(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let kept: Vec<&str> = path
        .split(['?', '&'])
        .filter(|part| !part.starts_with("password=") && !part.starts_with("user="))
        .collect();
    format!("{scheme}://{host}{}", kept.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_reads_back_and_none_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(State::read(&path).unwrap(), State::default());
        let state = State {
            mqtt_port: Some(1884),
            ..State::default()
        };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), state);
    }

    #[test]
    fn data_stays_with_its_database() {
        let mut state = State::default();
        state.bind_database(None).unwrap();
        state.bind_database(None).unwrap();
        let refused = state
            .bind_database(Some("postgres://u:p@db:5432/x"))
            .unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("belongs to its private database"), "{text}");
        assert!(
            text.contains("would use the database postgres://db:5432/x:"),
            "{text}"
        );
    }

    #[test]
    fn an_identity_holds_no_secret_and_survives_a_new_password() {
        let one = identity("postgres://app:s3cr@t@db:5432/x?user=a&password=b&sslmode=require");
        assert_eq!(one, "postgres://db:5432/x&sslmode=require");
        assert_eq!(identity("postgres://db:5432/x?sslmode=require"), one);
        assert_eq!(
            identity("postgres:///x?host=/tmp/y"),
            "postgres:///x&host=/tmp/y"
        );
    }
}

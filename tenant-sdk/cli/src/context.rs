//! The context of client verbs: where the API and the broker are, and with which secrets. `tessera dev`
//! writes it into its data folder; the verbs find it from any folder below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tessera_api_types::Secret;

/// Where `tessera dev` keeps its data unless told otherwise, below the working folder.
pub(crate) const DATA_FOLDER_DEFAULT: &str = ".tessera/dev";
/// The context's name in the data folder.
pub(crate) const CONTEXT_FILE: &str = "dev.json";

/// An installation, as its developer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// `http://host:port`
    pub(crate) api_url: String,
    pub(crate) mqtt_host: String,
    pub(crate) mqtt_port: u16,
    /// May do everything.
    pub(crate) platform_api_key: Secret,
    /// The first one is meant unless another is named.
    pub(crate) tenants: Vec<TenantContext>,
}

/// One tenant with what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TenantContext {
    pub(crate) slug: String,
    pub(crate) plan: String,
    /// May do everything inside its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<Secret>,
    /// The first one is meant unless another is named.
    pub(crate) credentials: Vec<Login>,
}

/// User name and password exactly as an MQTT client sends them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

impl Context {
    /// Reads the context at `path`; `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            )),
        }
    }

    /// Reads the context of the nearest folder upward that has one.
    pub(crate) fn find(from: &Path) -> io::Result<Option<(PathBuf, Self)>> {
        for folder in from.ancestors() {
            let path = folder.join(DATA_FOLDER_DEFAULT).join(CONTEXT_FILE);
            if let Some(context) = Self::read(&path)? {
                return Ok(Some((path, context)));
            }
        }
        Ok(None)
    }

    /// The tenant of that slug, or the first.
    pub(crate) fn tenant(&self, slug: Option<&str>) -> Option<&TenantContext> {
        self.tenants
            .iter()
            .find(|tenant| slug.is_none_or(|slug| tenant.slug == slug))
    }
}

impl TenantContext {
    /// The login whose user name is `name`, with or without the tenant before it, or the first.
    pub(crate) fn login(&self, name: Option<&str>) -> Option<&Login> {
        self.credentials.iter().find(|login| {
            name.is_none_or(|name| {
                login.username == name
                    || login.username.strip_prefix(self.slug.as_str())
                        == Some(format!(".{name}").as_str())
            })
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Context {
        let login = |name: &str| Login {
            username: name.to_owned(),
            password: Secret::new(format!("tsd_{name}")),
        };
        Context {
            api_url: "http://127.0.0.1:7880".into(),
            mqtt_host: "127.0.0.1".into(),
            mqtt_port: 1883,
            platform_api_key: Secret::new("tsk_platform".into()),
            tenants: vec![
                TenantContext {
                    slug: "demo".into(),
                    plan: "dev".into(),
                    api_key: Some(Secret::new("tsk_demo".into())),
                    credentials: vec![login("demo.device-1"), login("demo.device-2")],
                },
                TenantContext {
                    slug: "tiny".into(),
                    plan: "free".into(),
                    api_key: None,
                    credentials: vec![login("tiny.device-1")],
                },
            ],
        }
    }

    #[test]
    fn the_nearest_context_upward_is_found() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(Context::find(&below).unwrap(), None);
        let file = root.path().join(DATA_FOLDER_DEFAULT).join(CONTEXT_FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, serde_json::to_vec(&example()).unwrap()).unwrap();
        assert_eq!(
            Context::find(&below).unwrap(),
            Some((file.clone(), example()))
        );
        fs::write(&file, "{").unwrap();
        assert!(
            Context::find(&below)
                .unwrap_err()
                .to_string()
                .contains("dev.json")
        );
    }

    #[test]
    fn tenants_and_logins_are_found_by_name_or_are_the_first() {
        let context = example();
        assert_eq!(context.tenant(None).unwrap().slug, "demo");
        assert_eq!(context.tenant(Some("tiny")).unwrap().plan, "free");
        assert_eq!(context.tenant(Some("none")), None);
        let demo = context.tenant(None).unwrap();
        assert_eq!(demo.login(None).unwrap().username, "demo.device-1");
        for name in ["device-2", "demo.device-2"] {
            assert_eq!(demo.login(Some(name)).unwrap().username, "demo.device-2");
        }
        assert_eq!(demo.login(Some("evice-2")), None);
    }
}

//! The ready file: what a script needs to use an installation that is up.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tessera_api_types::Secret;

use super::private_file;
use crate::context::{Context, Login};

/// See the module. Its members are a contract with scripts: add, never rename.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ready {
    api_url: String,
    mqtt_host: String,
    mqtt_port: u16,
    /// A slug.
    tenant: String,
    /// As an MQTT client sends them. The first may publish and subscribe to everything in its tenant.
    credentials: Vec<Login>,
    tenant_api_key: Option<Secret>,
    platform_api_key: Secret,
    node_pids: Vec<u32>,
    control_pid: u32,
    /// `None` where the database is somebody else's.
    postgres_pid: Option<u32>,
}

/// The processes that serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pids {
    pub(crate) node: u32,
    pub(crate) control: u32,
    pub(crate) postgres: Option<u32>,
}

impl Ready {
    /// What to tell of the context's first tenant; `None` if it has no tenant.
    pub(crate) fn new(context: &Context, pids: Pids) -> Option<Self> {
        let tenant = context.tenant(None)?;
        Some(Self {
            api_url: context.api_url.clone(),
            mqtt_host: context.mqtt_host.clone(),
            mqtt_port: context.mqtt_port,
            tenant: tenant.slug.clone(),
            credentials: tenant.credentials.clone(),
            tenant_api_key: tenant.api_key.clone(),
            platform_api_key: context.platform_api_key.clone(),
            node_pids: vec![pids.node],
            control_pid: pids.control,
            postgres_pid: pids.postgres,
        })
    }
}

/// The file at its place; it is there only while everything is up.
#[derive(Debug)]
pub(crate) struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Removes what a former start left.
    pub(crate) fn new(path: Option<PathBuf>) -> io::Result<Self> {
        if let Some(folder) = path.as_deref().and_then(Path::parent)
            && !folder.is_dir()
        {
            // Told now, not when everything is up.
            return Err(io::Error::other(format!(
                "{} is no folder",
                folder.display()
            )));
        }
        let file = Self(path);
        file.remove()?;
        Ok(file)
    }

    pub(crate) fn write(&self, ready: &Ready) -> io::Result<()> {
        match &self.0 {
            Some(path) => private_file::replace(path, &serde_json::to_vec_pretty(ready)?),
            None => Ok(()),
        }
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        self.0.as_deref().map_or(Ok(()), private_file::remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn scripts_find_what_they_were_promised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        fs::write(&path, "of a former start").unwrap();
        let file = ReadyFile::new(Some(path.clone())).unwrap();
        assert!(!path.exists());

        let pids = Pids {
            node: 3,
            control: 2,
            postgres: None,
        };
        file.write(&Ready::new(&crate::context::tests::example(), pids).unwrap())
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected = serde_json::json!({
            "api_url": "http://127.0.0.1:7880",
            "mqtt_host": "127.0.0.1",
            "mqtt_port": 1883,
            "tenant": "demo",
            "credentials": [
                {"username": "demo.device-1", "password": "tsd_demo.device-1"},
                {"username": "demo.device-2", "password": "tsd_demo.device-2"},
            ],
            "tenant_api_key": "tsk_demo",
            "platform_api_key": "tsk_platform",
            "node_pids": [3],
            "control_pid": 2,
            "postgres_pid": null,
        });
        assert_eq!(json, expected);
        file.remove().unwrap();
        assert!(!path.exists());
        assert!(ReadyFile::new(Some(folder.path().join("none/ready.json"))).is_err());
    }
}

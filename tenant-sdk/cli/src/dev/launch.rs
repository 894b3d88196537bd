//! With which arguments each process is started.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tessera_sdk::rest::Client;

use super::child::{Kind, OwnProgram, Program};
use super::folder::DataFolder;
use super::keys::Keys;
use super::postgres::cluster::Cluster;
use super::process::Role;

/// The ports of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) mqtt: u16,
    pub(crate) api: u16,
    pub(crate) admin: u16,
}

impl Ports {
    pub(crate) fn api_url(self) -> String {
        format!("http://{}", local(self.api))
    }

    pub(crate) fn admin_url(self) -> String {
        format!("http://{}", local(self.admin))
    }
}

/// What all of them need to know.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) folder: &'a DataFolder,
    pub(crate) keys: &'a Keys,
    /// This very binary.
    pub(crate) executable: &'a Path,
    pub(crate) ports: Ports,
}

impl Launch<'_> {
    pub(crate) fn node(&self, probe: Client) -> Program {
        let mut own = self.own("node", &self.folder.place("node"), probe);
        own.option("--push-key-file", &self.keys.push_key_file);
        own.option("--server-key-file", &self.keys.server_key_file);
        own.option("--mqtt-listen", local(self.ports.mqtt).to_string());
        own.option("--admin-listen", local(self.ports.admin).to_string());
        own.option("--control-url", self.ports.api_url());
        own.flag("--init-cluster");
        Program {
            role: Role::Node,
            log: self.folder.log("node"),
            kind: Kind::Own(own),
        }
    }

    pub(crate) fn control(&self, database_url: &str, probe: Client) -> Program {
        // Of itself it keeps nothing on disk: only keys are read there.
        let mut own = self.own("control", &self.folder.place("keys"), probe);
        own.option("--listen", local(self.ports.api).to_string());
        own.option(
            "--bootstrap-platform-key-file",
            &self.keys.platform_key_file,
        );
        own.environment.push(("DATABASE_URL", database_url.into()));
        Program {
            role: Role::Control,
            log: self.folder.log("control"),
            kind: Kind::Own(own),
        }
    }

    pub(crate) fn postgres(folder: &DataFolder, cluster: Cluster) -> Program {
        Program {
            role: Role::Postgres,
            log: folder.log("postgres"),
            kind: Kind::Postgres(Box::new(cluster)),
        }
    }

    fn own(&self, verb: &str, data_dir: &Path, probe: Client) -> OwnProgram {
        let mut own = OwnProgram {
            executable: self.executable.to_owned(),
            arguments: vec![verb.into()],
            environment: Vec::new(),
            probe,
        };
        own.option("--data-dir", data_dir);
        own.flag("--exit-with-parent");
        own
    }
}

impl OwnProgram {
    fn flag(&mut self, name: &str) {
        self.arguments.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.flag(name);
        self.arguments.push(value.as_ref().to_owned());
    }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::CommandLine;
    use crate::dev::keys;
    use clap::Parser as _;
    use std::ffi::OsString;

    #[test]
    fn arguments_are_understood_name_the_data_folder_and_hold_no_secret() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        let keys = keys::ensure(&folder).unwrap();
        let launch = Launch {
            folder: &folder,
            keys: &keys,
            executable: Path::new("/bin/tessera"),
            ports: Ports {
                mqtt: 1883,
                api: 7880,
                admin: 7881,
            },
        };
        let probe = Client::builder(launch.ports.api_url()).build().unwrap();
        let url = format!("postgres://tessera:{}@localhost/x", keys.postgres_password);
        for program in [launch.node(probe.clone()), launch.control(&url, probe)] {
            let Kind::Own(own) = program.kind else {
                panic!("an own program")
            };
            let mut line = vec![OsString::from("tessera")];
            line.extend(own.arguments.iter().cloned());
            // The database's address comes by the environment.
            if program.role == Role::Control {
                line.extend(["--database-url".into(), "postgres://x".into()]);
            }
            let parsed = CommandLine::try_parse_from(line);
            assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
            let text = format!("{:?}", own.arguments);
            assert!(text.contains(folder.root().to_str().unwrap()), "{text}");
            for secret in [&keys.postgres_password, keys.platform_key.expose()] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

//! Where `pub` and `sub` connect, and as whom.

use anyhow::{Context as _, bail};
use tessera_sdk::mqtt::{ConnectOptions, Connected, ProtocolVersion, Qos, connect};

use crate::access::ContextArgs;
use crate::context::Context;

/// The usual port of MQTT.
const PORT: u16 = 1883;

/// Options that `pub` and `sub` share.
#[derive(Debug, clap::Args)]
pub(crate) struct MqttArgs {
    #[command(flatten)]
    context: ContextArgs,
    /// A tenant of the context. Default: its first.
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// A credential of the tenant in the context. Default: its first.
    #[arg(long = "as", value_name = "USER")]
    login: Option<String>,
    /// The broker's host, instead of the context's.
    #[arg(long, env = "TESSERA_MQTT_HOST")]
    host: Option<String>,
    /// The broker's port. Default 1883.
    #[arg(long, env = "TESSERA_MQTT_PORT", requires = "host")]
    port: Option<u16>,
    /// The user name: TENANT.USER.
    #[arg(
        short = 'u',
        long,
        env = "TESSERA_MQTT_USERNAME",
        requires = "password"
    )]
    username: Option<String>,
    /// Its secret: tsd_…
    #[arg(
        short = 'P',
        long,
        env = "TESSERA_MQTT_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    /// The client identifier. Default: the server chooses.
    #[arg(short = 'i', long, value_name = "ID")]
    client_id: Option<String>,
    /// The version of MQTT.
    #[arg(short = 'V', long = "mqtt", value_enum, default_value_t)]
    version: Version,
    /// The quality of service.
    #[arg(short = 'q', long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Version {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.1.1")]
    V311,
    #[default]
    #[value(name = "5")]
    V5,
}

/// Whom to connect to, and as whom.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    username: String,
    password: String,
}

impl MqttArgs {
    pub(crate) fn qos(&self) -> Qos {
        // The parser allows nothing else than 0 to 2.
        Qos::try_from(self.qos).unwrap_or(Qos::ExactlyOnce)
    }

    /// Connects; `adjust` has the last word on the options.
    pub(crate) async fn connect(
        &self,
        adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> anyhow::Result<Connected> {
        let target = self.target(self.context.read()?.as_ref())?;
        let version = match self.version {
            Version::V31 => ProtocolVersion::V31,
            Version::V311 => ProtocolVersion::V311,
            Version::V5 => ProtocolVersion::V5,
        };
        let mut options = ConnectOptions::new(target.host, target.port)
            .version(version)
            .login(&target.username, target.password);
        if let Some(client_id) = self.client_id.clone().or_else(|| self.needed_client_id()) {
            options = options.client_id(client_id);
        }
        let connected = connect(adjust(options)).await;
        connected.with_context(|| format!("connecting as {}", target.username))
    }

    /// MQTT 3.1 has no client identifier of the server's choice.
    fn needed_client_id(&self) -> Option<String> {
        (self.version == Version::V31).then(|| format!("tessera-{}", std::process::id()))
    }

    fn target(&self, context: Option<&Context>) -> anyhow::Result<Target> {
        let (host, port) = match (&self.host, context) {
            (Some(host), _) => (host.clone(), self.port.unwrap_or(PORT)),
            (None, Some(context)) => (context.mqtt_host.clone(), context.mqtt_port),
            (None, None) => bail!(
                "no broker known: start one with `tessera dev`, or give --host, --username and \
                 --password"
            ),
        };
        let (username, password) = match (&self.username, &self.password, context) {
            (Some(username), Some(password), _) => (username.clone(), password.clone()),
            (_, _, Some(context)) => self.login_of(context)?,
            (_, _, None) => bail!("give --username and --password"),
        };
        Ok(Target {
            host,
            port,
            username,
            password,
        })
    }

    fn login_of(&self, context: &Context) -> anyhow::Result<(String, String)> {
        // A user name says its tenant.
        let named = self.login.as_deref().and_then(|name| name.split_once('.'));
        let slug = self
            .tenant
            .as_deref()
            .or_else(|| named.map(|(tenant, _)| tenant));
        let known = slug.and_then(|slug| context.tenant(Some(slug)));
        let tenant = match (known, self.tenant.as_deref()) {
            (Some(tenant), _) => tenant,
            (None, Some(slug)) => bail!(
                "the context knows no tenant {slug}: give --username and --password (`tessera \
                 credential create {slug} NAME` makes them)"
            ),
            (None, None) => context
                .tenant(None)
                .context("the context holds no tenant")?,
        };
        let login = tenant.login(self.login.as_deref()).with_context(|| {
            let name = self.login.as_deref().unwrap_or("any");
            format!(
                "the context knows no credential {name} of tenant {}",
                tenant.slug
            )
        })?;
        Ok((login.username.clone(), login.password.expose().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        mqtt: MqttArgs,
    }

    fn target(line: &str) -> anyhow::Result<Target> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words)?
            .mqtt
            .target(Some(&crate::context::tests::example()))
    }

    #[test]
    fn the_context_s_first_login_is_taken_unless_another_is_named() {
        for (line, username) in [
            ("", "demo.device-1"),
            ("--as device-2", "demo.device-2"),
            ("--as demo.device-2", "demo.device-2"),
            ("--tenant tiny", "tiny.device-1"),
            ("--as tiny.device-1", "tiny.device-1"),
        ] {
            let target = target(line).unwrap();
            assert_eq!(target.username, username, "{line}");
            assert_eq!((target.host.as_str(), target.port), ("127.0.0.1", 1883));
        }
        for unknown in [
            "--tenant none",
            "--as nobody",
            "--tenant tiny --as device-2",
        ] {
            assert!(target(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn options_name_any_broker() {
        let named = target("--host broker --port 2000 -u acme.x -P tsd_x").unwrap();
        let expected = Target {
            host: "broker".into(),
            port: 2000,
            username: "acme.x".into(),
            password: "tsd_x".into(),
        };
        assert_eq!(named, expected);
        assert!(target("-u acme.x").is_err(), "without a password");
    }
}

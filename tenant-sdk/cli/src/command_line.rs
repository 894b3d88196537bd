//! The verbs.

use std::future::Future;

use crate::verbs::credential::CredentialArgs;
use crate::verbs::publish::PublishArgs;
use crate::verbs::quota::QuotaArgs;
use crate::verbs::subscribe::SubscribeArgs;
use crate::verbs::tenant::TenantArgs;

/// Tessera: a multi-tenant MQTT cloud.
#[derive(Debug, clap::Parser)]
#[command(
    name = "tessera",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = crate::exit::CODES_HELP)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Starts the whole product on this machine, for development.
    #[cfg(feature = "server")]
    Dev(Box<crate::dev::DevArgs>),
    /// Tenants: MQTT namespaces.
    Tenant(TenantArgs),
    /// Credentials of devices.
    Credential(CredentialArgs),
    /// Quotas of tenants.
    Quota(QuotaArgs),
    /// Publishes a message.
    Pub(Box<PublishArgs>),
    /// Subscribes, and prints what arrives.
    Sub(Box<SubscribeArgs>),
    /// Runs a data node.
    #[cfg(feature = "server")]
    Node(Box<crate::serve::NodeArgs>),
    /// Runs a control plane.
    #[cfg(feature = "server")]
    Control(Box<crate::serve::ControlArgs>),
}

impl CommandLine {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Tenant(args) => on_this_thread(args.run()),
            Verb::Credential(args) => on_this_thread(args.run()),
            Verb::Quota(args) => on_this_thread(args.run()),
            Verb::Pub(args) => on_this_thread(args.run()),
            Verb::Sub(args) => on_this_thread(args.run()),
            // On this thread also because the kernel binds children to it.
            #[cfg(feature = "server")]
            Verb::Dev(args) => on_this_thread(crate::dev::run(*args)),
            #[cfg(feature = "server")]
            Verb::Node(args) => on_all_cores(args.run()),
            #[cfg(feature = "server")]
            Verb::Control(args) => on_all_cores(args.run()),
        }
    }
}

fn on_this_thread(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

#[cfg(feature = "server")]
fn on_all_cores(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_banner_are_understood() {
        for line in [
            "tessera sub sensors/#",
            "tessera sub --context /x/dev.json sensors/#",
            "tessera pub --as demo.device-2 sensors/1/temp 21.5",
            "tessera pub --context /x/dev.json --tenant tiny --repeat 1000 storm hello",
            "tessera quota set tiny publishes_per_second=5000",
            "tessera quota reset tiny publishes_per_second",
            "tessera quota --context /x/dev.json set tiny publishes_per_second=5000",
            "tessera tenant set tiny queue_overflow=refuse_publisher",
            "tessera -V",
        ] {
            let parsed = CommandLine::try_parse_from(line.split(' '));
            let is_fine = parsed.map_or_else(|error| !error.use_stderr(), |_| true);
            assert!(is_fine, "{line}");
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn the_server_half_takes_its_options() {
        for line in [
            "tessera dev --ephemeral --mqtt-port 1 --api-port 2 --ready-file r",
            "tessera dev --data-dir d --database-url postgres://x",
            "tessera node --data-dir d --mqtt-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
             --control-url http://c --push-key-file p --server-key-file s --init-cluster \
             --exit-with-parent",
            "tessera control --data-dir d --listen 127.0.0.1:0 --database-url postgres://x \
             --push-key-file p --server-key-file s --bootstrap-platform-key-file k \
             --exit-with-parent",
        ] {
            let parsed = CommandLine::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for refused in [
            "tessera dev --ephemeral --data-dir d",
            "tessera dev --mqtt-port 0",
        ] {
            assert!(
                CommandLine::try_parse_from(refused.split(' ')).is_err(),
                "{refused}"
            );
        }
    }
}

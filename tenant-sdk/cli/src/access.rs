//! Where a client verb turns to: options, else the environment, else the context of a `tessera dev`
//! that was started here or in a folder above.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tessera_sdk::rest::Client;

use crate::context::Context;
use crate::output::Format;

/// Options of every verb that speaks to the API.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// The API's address.
    #[arg(long, global = true, value_name = "URL", env = "TESSERA_API_URL")]
    api_url: Option<String>,
    /// What opens it.
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "TESSERA_API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    #[command(flatten)]
    context: ContextArgs,
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Which context.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContextArgs {
    /// The `dev.json` of an installation. Default: the nearest .tessera/dev/dev.json upward.
    #[arg(long, global = true, value_name = "FILE", env = "TESSERA_CONTEXT")]
    context: Option<PathBuf>,
}

impl ContextArgs {
    /// The context, if there is one. One that was named must be there.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Context>> {
        if let Some(path) = &self.context {
            let context = Context::read(path)?;
            return context
                .with_context(|| format!("{} does not exist", path.display()))
                .map(Some);
        }
        let here = std::env::current_dir().context("finding the working folder")?;
        Ok(Context::find(&here)?.map(|(_, context)| context))
    }
}

impl ApiArgs {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let context = match (&self.api_url, &self.api_key) {
            (Some(_), Some(_)) => None,
            (Some(_) | None, Some(_) | None) => self.context.read()?,
        };
        let (url, key) = resolve(self.api_url.clone(), self.api_key.clone(), context.as_ref())?;
        Ok(Client::builder(url).api_key(key).build()?)
    }
}

fn resolve(
    url: Option<String>,
    key: Option<String>,
    context: Option<&Context>,
) -> anyhow::Result<(String, String)> {
    match (url, key, context) {
        (Some(url), Some(key), _) => Ok((url, key)),
        // A key of the context's is for the context's installation only.
        (Some(url), None, Some(context)) if url.trim_end_matches('/') == context.api_url => {
            Ok((url, context.platform_api_key.expose().to_owned()))
        }
        (Some(_), None, _) => bail!("give the key for this address: --api-key or TESSERA_API_KEY"),
        (None, key, Some(context)) => {
            let own = || context.platform_api_key.expose().to_owned();
            Ok((context.api_url.clone(), key.unwrap_or_else(own)))
        }
        (None, _, None) => bail!(
            "no installation known: start one with `tessera dev`, or give --api-url and --api-key"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_the_context_and_its_key_stays_at_home() {
        let context = crate::context::tests::example();
        let some = |text: &str| Some(text.to_owned());
        let home = "http://127.0.0.1:7880";
        let resolved = |url, key| resolve(url, key, Some(&context)).ok();
        assert_eq!(
            resolved(None, None),
            Some((home.into(), "tsk_platform".into()))
        );
        assert_eq!(
            resolved(None, some("tsk_x")),
            Some((home.into(), "tsk_x".into()))
        );
        assert_eq!(
            resolved(some("http://x"), some("k")),
            Some(("http://x".into(), "k".into()))
        );
        assert_eq!(
            resolved(some(home), None),
            Some((home.into(), "tsk_platform".into()))
        );
        assert_eq!(resolved(some("http://elsewhere"), None), None);
        assert!(resolve(None, some("tsk_x"), None).is_err());
    }
}

//! What is printed when all is up: where things are, and lines to paste that work as they stand.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tessera_tenancy::LimitCode;

use crate::context::{Context, TenantContext};

/// What the banner tells of a start.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    pub(crate) context: &'a Context,
    /// As the person named it.
    pub(crate) data: &'a Path,
    /// How this binary is called from here.
    pub(crate) tessera: &'a str,
    /// What a client verb needs to find the context, for example ` --context /x/dev.json`.
    pub(crate) context_option: &'a str,
    /// What was done, and how long it took.
    pub(crate) steps: &'a [(String, Duration)],
    pub(crate) total: Duration,
    pub(crate) is_ephemeral: bool,
}

impl Banner<'_> {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let kept = if self.is_ephemeral {
            "removed at the end"
        } else {
            "kept"
        };
        writeln!(
            out,
            "\n  Tessera {} · development mode, data in {} ({kept}) · not for production",
            env!("CARGO_PKG_VERSION"),
            self.data.display()
        )?;
        for (what, took) in self.steps {
            writeln!(out, "  ✓ {what:<58} {}", seconds(*took))?;
        }
        writeln!(out, "  ready in {}\n", seconds(self.total))?;
        self.write_addresses(out)?;
        self.write_messages(out)?;
        self.write_limits(out)?;
        writeln!(
            out,
            "  Logs are in {}/logs. Ctrl-C stops everything.",
            self.data.display()
        )
    }

    fn write_addresses(&self, out: &mut String) -> std::fmt::Result {
        let Context {
            api_url,
            mqtt_host,
            mqtt_port,
            platform_api_key,
            tenants,
        } = self.context;
        writeln!(out, "  API           {api_url}/v1")?;
        writeln!(
            out,
            "  MQTT          {mqtt_host}:{mqtt_port}   (3.1, 3.1.1 and 5 over TCP)"
        )?;
        for tenant in tenants {
            let names: Vec<&str> = tenant
                .credentials
                .iter()
                .map(|login| login.username.as_str())
                .collect();
            let (slug, plan) = (&tenant.slug, &tenant.plan);
            writeln!(
                out,
                "  Tenant        {slug} (plan {plan}): {}",
                names.join(", ")
            )?;
            if let Some(key) = &tenant.api_key {
                writeln!(out, "  Tenant key    {}", key.expose())?;
            }
        }
        writeln!(out, "  Platform key  {}\n", platform_api_key.expose())
    }

    fn write_messages(&self, out: &mut String) -> std::fmt::Result {
        let Some(tenant) = self.context.tenant(None) else {
            return Ok(());
        };
        let (Some(first), Some(last)) = (tenant.credentials.first(), tenant.credentials.last())
        else {
            return Ok(());
        };
        let (host, port) = (&self.context.mqtt_host, self.context.mqtt_port);
        let (tessera, option) = (self.tessera, self.context_option);
        writeln!(out, "  Your first message, in two other terminals:")?;
        writeln!(
            out,
            "    mosquitto_sub -h {host} -p {port} -u {} -P {} -t 'sensors/#' -v",
            first.username,
            first.password.expose()
        )?;
        writeln!(
            out,
            "    mosquitto_pub -h {host} -p {port} -u {} -P {} -t sensors/1/temp -m 21.5",
            last.username,
            last.password.expose()
        )?;
        writeln!(out, "  or, with this very binary:")?;
        writeln!(out, "    {tessera} sub{option} 'sensors/#'")?;
        writeln!(
            out,
            "    {tessera} pub{option} --as {} sensors/1/temp 21.5",
            last.username
        )?;
        if let Some(key) = &tenant.api_key {
            let (url, slug) = (&self.context.api_url, &tenant.slug);
            writeln!(out, "  The API, asked for what {slug} may use:")?;
            writeln!(
                out,
                "    curl -s {url}/v1/tenants/{slug}/quotas -H 'Authorization: Bearer {}'",
                key.expose()
            )?;
        }
        writeln!(out)
    }

    fn write_limits(&self, out: &mut String) -> std::fmt::Result {
        let Some(small) = self.context.tenants.get(1) else {
            return Ok(());
        };
        let (tessera, option) = (self.tessera, self.context_option);
        let TenantContext { slug, plan, .. } = small;
        let quota = LimitCode::PublishesPerSecond;
        writeln!(
            out,
            "  See a limit: {slug} is on plan {plan}, with so many {quota}. Exceed it, raise it \
             (it is live at once), go back:"
        )?;
        writeln!(
            out,
            "    {tessera} pub{option} --tenant {slug} --repeat 1000 storm hello"
        )?;
        writeln!(out, "    {tessera} quota{option} set {slug} {quota}=5000")?;
        writeln!(out, "    {tessera} quota{option} reset {slug} {quota}\n")
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A word as a shell reads it.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// How a program is called from `from`: relative where it is below, else by its whole path.
pub(crate) fn called_from(program: &Path, from: &Path) -> String {
    let below = program
        .strip_prefix(from)
        .ok()
        .filter(|rest| rest.components().count() > 1);
    let path = below.unwrap_or(program);
    shell_word(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_gives_lines_that_work_as_they_stand() {
        let context = crate::context::tests::example();
        let text = Banner {
            context: &context,
            data: Path::new(".tessera/dev"),
            tessera: "target/release/tessera",
            context_option: "",
            steps: &[(
                "PostgreSQL 15.18, private".into(),
                Duration::from_millis(312),
            )],
            total: Duration::from_millis(1_204),
            is_ephemeral: false,
        }
        .text();
        for line in [
            "  ✓ PostgreSQL 15.18, private                                  0.31 s",
            "  ready in 1.20 s",
            "    mosquitto_sub -h 127.0.0.1 -p 1883 -u demo.device-1 -P tsd_demo.device-1 -t 'sensors/#' -v",
            "    target/release/tessera sub 'sensors/#'",
            "    target/release/tessera pub --as demo.device-2 sensors/1/temp 21.5",
            "    curl -s http://127.0.0.1:7880/v1/tenants/demo/quotas -H 'Authorization: Bearer tsk_demo'",
            "    target/release/tessera quota set tiny publishes_per_second=5000",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\nis not in\n{text}"
            );
        }
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(
            shell_word("target/release/tessera"),
            "target/release/tessera"
        );
        assert_eq!(
            shell_word("/home/o'neil/my dir"),
            r"'/home/o'\''neil/my dir'"
        );
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn the_binary_is_called_as_it_can_be_from_here() {
        let program = Path::new("/src/tessera/target/release/tessera");
        assert_eq!(
            called_from(program, Path::new("/src/tessera")),
            "target/release/tessera"
        );
        assert_eq!(
            called_from(program, Path::new("/home")),
            program.display().to_string()
        );
        // A bare name would be looked up on PATH.
        let beside = Path::new("/src/tessera/target/release");
        assert_eq!(called_from(program, beside), program.display().to_string());
    }
}

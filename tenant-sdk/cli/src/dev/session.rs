//! One run of `dev`, in order: leftovers, ports, PostgreSQL, control plane and node, seeding, banner;
//! then watching until it is told to end; then node, control plane, PostgreSQL again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tessera_api_types::Secret;
use tessera_sdk::rest::{Client, RetryPolicy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::banner::{Banner, called_from, shell_word};
use super::child::Program;
use super::folder::DataFolder;
use super::keys::{self, Keys};
use super::launch::{Launch, Ports};
use super::ports::{self, Wish};
use super::postgres;
use super::process::{ProcessFile, Role};
use super::ready::{Pids, Ready, ReadyFile};
use super::seed;
use super::signals::Signals;
use super::state::State;
use super::supervise::{Event, Stop, supervise};
use super::{API_PORT, DevArgs, MQTT_PORT, say};
use crate::context::{CONTEXT_FILE, Context};

/// Reports that may wait to be handled. Each process has at most one on its way.
const EVENTS_MAX: usize = 16;
/// How long one question about readiness may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);
/// How often it is asked whether all serve again after a restart.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Session<'a> {
    args: &'a DevArgs,
    /// As the person named it.
    data_dir: PathBuf,
    folder: DataFolder,
    ready_file: ReadyFile,
    keys: Keys,
    state: State,
    former: Option<Context>,
    executable: PathBuf,
    processes: Arc<Mutex<ProcessFile>>,
    tasks: BTreeMap<Role, Supervised>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    /// Of the processes that are ready.
    pids: BTreeMap<Role, u32>,
    steps: Vec<(String, Duration)>,
    sockets: Option<PathBuf>,
}

struct Supervised {
    stop: watch::Sender<Stop>,
    task: JoinHandle<std::io::Result<()>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        args: &'a DevArgs,
        data_dir: PathBuf,
        folder: DataFolder,
        ready_file: ReadyFile,
    ) -> anyhow::Result<Self> {
        let mut state = State::read(&folder.place("state.json"))?;
        state.bind_database(args.database_url.as_deref())?;
        Ok(Self {
            keys: keys::ensure(&folder).context("making keys")?,
            former: Context::read(&folder.place(CONTEXT_FILE))?,
            executable: std::env::current_exe().context("finding this program")?,
            processes: Arc::default(),
            tasks: BTreeMap::new(),
            events: mpsc::channel(EVENTS_MAX),
            pids: BTreeMap::new(),
            steps: Vec::new(),
            sockets: None,
            args,
            data_dir,
            folder,
            ready_file,
            state,
        })
    }

    /// Brings everything up and watches it. Returns when a signal asks for the end, or with what cannot
    /// be mended.
    pub(crate) async fn run(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let (context, probes) = tokio::select! {
            up = self.bring_up() => up?,
            () = signals.next() => return Ok(()),
        };
        let mut is_told = true;
        loop {
            let are_all_ready = self.all_pids();
            tokio::select! {
                () = signals.next() => return Ok(()),
                event = self.events.1.recv() => if let Some(event) = event {
                    is_told = false;
                    self.handle_event(event)?;
                },
                () = all_answer(&probes), if !is_told && are_all_ready.is_some() => {
                    self.tell_ready(&context)?;
                    is_told = true;
                    say("all is ready again");
                }
            }
        }
    }

    /// Stops what runs, in order. A further signal makes it quick.
    pub(crate) async fn stop(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let removed = self.ready_file.remove().context("removing the ready file");
        if !self.tasks.is_empty() {
            say("stopping");
        }
        let mut how = Stop::Gracefully;
        while let Some((_, Supervised { stop, mut task })) = self.tasks.pop_first() {
            stop.send_replace(how);
            let ended = loop {
                tokio::select! {
                    ended = &mut task => break ended,
                    () = signals.next() => {
                        how = Stop::AtOnce;
                        stop.send_replace(how);
                    }
                }
            };
            // What did not end well has said so in its log; the others have to end as well.
            ended
                .context("supervising")?
                .unwrap_or_else(|error| say(&error.to_string()));
        }
        if let Some(sockets) = self.sockets.take() {
            // Kept if something is left in it.
            std::fs::remove_dir(sockets).unwrap_or_default();
        }
        removed
    }

    async fn bring_up(&mut self) -> anyhow::Result<(Context, Vec<Client>)> {
        let begun = Instant::now();
        self.end_leftovers().await?;
        let ports = self.choose_ports()?;
        let platform = Client::builder(ports.api_url())
            .api_key(self.keys.platform_key.expose())
            .build()?;
        let (control, node) = (probe(&ports.api_url())?, probe(&ports.admin_url())?);
        // The node serves from what it has on disk, so it need not wait for the others. At the very
        // first start there is nothing: it would only ask in vain, and ever more rarely.
        let serves_from_disk = self.former.is_some();
        let mut started = Instant::now();
        if serves_from_disk {
            let program = self.launch(ports).node(node.clone());
            self.supervise(program);
        }
        let database_url = self.start_database().await?;
        if !serves_from_disk {
            started = Instant::now();
            let program = self.launch(ports).node(node.clone());
            self.supervise(program);
        }
        self.start_control(ports, &database_url, control.clone())
            .await?;
        self.until_ready(Role::Node).await?;
        self.step("node: frontend, dist, inbox and retain", started);
        let context = self.seed(ports, &platform).await?;
        self.tell_ready(&context)?;
        self.print_banner(&context, begun.elapsed());
        Ok((context, vec![control, node]))
    }

    async fn end_leftovers(&mut self) -> anyhow::Result<()> {
        let mut former = ProcessFile::open(self.folder.place("processes.json"));
        let ended = former
            .end_leftovers(self.folder.root())
            .await
            .context("ending former processes")?;
        for role in ended {
            say(&format!(
                "ended the {} that a former start left",
                role.name()
            ));
        }
        self.processes = Arc::new(Mutex::new(former));
        Ok(())
    }

    fn choose_ports(&mut self) -> anyhow::Result<Ports> {
        let mut given_out = Vec::new();
        let mut choose = |what: &str, asked, remembered, usual| -> anyhow::Result<u16> {
            let wish = Wish {
                asked,
                remembered,
                usual,
            };
            let chosen = wish.choose(&given_out, ports::is_free)?;
            if let Some(busy) = chosen.instead_of {
                say(&format!(
                    "port {busy} is busy: {what} is on port {} instead",
                    chosen.port
                ));
            }
            given_out.push(chosen.port);
            Ok(chosen.port)
        };
        let ports = Ports {
            mqtt: choose("MQTT", self.args.mqtt_port, self.state.mqtt_port, MQTT_PORT)?,
            api: choose("the API", self.args.api_port, self.state.api_port, API_PORT)?,
            // Nobody types this one, so any will do, and two that start at once do not meet.
            admin: match self.state.admin_port {
                Some(port) if ports::is_free(port) => port,
                Some(_) | None => ports::any_free().context("finding a free port")?,
            },
        };
        self.state.mqtt_port = Some(ports.mqtt);
        self.state.api_port = Some(ports.api);
        self.state.admin_port = Some(ports.admin);
        Ok(ports)
    }

    async fn start_database(&mut self) -> anyhow::Result<String> {
        if let Some(url) = &self.args.database_url {
            return Ok(url.clone());
        }
        let begun = Instant::now();
        let search_path = &self.args.search_path;
        let password = self.keys.postgres_password.clone();
        let cluster = postgres::open(self.folder.root(), search_path, password, &say).await?;
        let (url, version) = (cluster.url(), cluster.programs.version.clone());
        self.sockets = Some(cluster.sockets.clone());
        self.supervise(Launch::postgres(&self.folder, cluster));
        self.until_ready(Role::Postgres).await?;
        self.step(
            &format!("PostgreSQL {version}, private, on a socket only"),
            begun,
        );
        Ok(url)
    }

    async fn start_control(
        &mut self,
        ports: Ports,
        database_url: &str,
        probe: Client,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let program = self.launch(ports).control(database_url, probe);
        self.supervise(program);
        self.until_ready(Role::Control).await?;
        // Only now is it certain that the data and this database belong together.
        self.state
            .write(&self.folder.place("state.json"))
            .context("writing state.json")?;
        self.step("control plane, schema up to date", begun);
        Ok(())
    }

    async fn seed(&mut self, ports: Ports, platform: &Client) -> anyhow::Result<Context> {
        let begun = Instant::now();
        let mut context = Context {
            api_url: ports.api_url(),
            mqtt_host: Ipv4Addr::LOCALHOST.to_string(),
            mqtt_port: ports.mqtt,
            platform_api_key: Secret::new(self.keys.platform_key.expose().to_owned()),
            tenants: Vec::new(),
        };
        let path = self.folder.place(CONTEXT_FILE);
        let revision = seed::seed(platform, self.former.as_ref(), &mut context, &path).await?;
        let (applied, of) = seed::until_applied(platform, revision).await?;
        let what = format!("tenants and secrets, revision {revision} applied on {applied} of {of}");
        self.step(&what, begun);
        Ok(context)
    }

    fn launch(&self, ports: Ports) -> Launch<'_> {
        Launch {
            folder: &self.folder,
            keys: &self.keys,
            executable: &self.executable,
            ports,
        }
    }

    fn supervise(&mut self, program: Program) {
        let (stop, told) = watch::channel(Stop::No);
        let role = program.role;
        let (processes, events) = (Arc::clone(&self.processes), self.events.0.clone());
        let task = tokio::spawn(supervise(program, processes, told, events));
        self.tasks.insert(role, Supervised { stop, task });
    }

    async fn until_ready(&mut self, role: Role) -> anyhow::Result<()> {
        while !self.pids.contains_key(&role) {
            match self.events.1.recv().await {
                Some(event) => self.handle_event(event)?,
                None => bail!("nobody supervises {}", role.name()),
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Ready { role, pid } => {
                self.pids.insert(role, pid);
            }
            Event::Ended { role, how, pause } => {
                self.pids.remove(&role);
                let pause = pause.as_secs_f64();
                say(&format!(
                    "{} {how}; starting it again in {pause:.1} s",
                    role.name()
                ));
            }
            Event::GaveUp { role, how, log } => {
                let (name, path) = (role.name(), self.folder.log(role.name()));
                bail!(
                    "{name} does not start: {how}; {} ends with:\n{log}",
                    path.display()
                );
            }
        }
        Ok(())
    }

    fn all_pids(&self) -> Option<Pids> {
        let pid = |role| self.pids.get(&role).copied();
        let postgres = pid(Role::Postgres);
        if postgres.is_none() && self.args.database_url.is_none() {
            return None;
        }
        Some(Pids {
            node: pid(Role::Node)?,
            control: pid(Role::Control)?,
            postgres,
        })
    }

    fn tell_ready(&self, context: &Context) -> anyhow::Result<()> {
        let ready = self.all_pids().and_then(|pids| Ready::new(context, pids));
        // What ended since is told again when it is back.
        ready
            .map_or(Ok(()), |ready| self.ready_file.write(&ready))
            .context("writing the ready file")
    }

    fn step(&mut self, what: &str, begun: Instant) {
        self.steps.push((what.to_owned(), begun.elapsed()));
    }

    fn print_banner(&self, context: &Context, total: Duration) {
        let here = std::env::current_dir().unwrap_or_default();
        let banner = Banner {
            context,
            data: &self.data_dir,
            tessera: &called_from(&self.executable, &here),
            context_option: &self.context_option(&here),
            steps: &self.steps,
            total,
            is_ephemeral: self.args.ephemeral,
        };
        // A closed standard output must not stop the product.
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", banner.text())
            .and_then(|()| out.flush())
            .unwrap_or_default();
    }

    /// What a client verb called from `here` needs in order to find this context.
    fn context_option(&self, here: &Path) -> String {
        let file = self.folder.place(CONTEXT_FILE);
        match Context::find(here) {
            Ok(Some((found, _))) if found == file => String::new(),
            Ok(_) | Err(_) => format!(" --context {}", shell_word(&file.display().to_string())),
        }
    }
}

/// A client that asks once whether a process is ready.
fn probe(address: &str) -> anyhow::Result<Client> {
    let once = RetryPolicy {
        attempts_max: 1,
        ..RetryPolicy::default()
    };
    Ok(Client::builder(address)
        .deadline(PROBE_DEADLINE)
        .retry(once)
        .build()?)
}

/// Waits until each of them says that it is ready: the control plane is so only with its database.
async fn all_answer(probes: &[Client]) {
    for probe in probes {
        while probe.is_ready().await.is_err() {
            sleep(ASK_EVERY).await;
        }
    }
}

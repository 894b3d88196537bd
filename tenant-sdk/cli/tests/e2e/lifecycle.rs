//! Processes that die, starts that follow a kill, and what is left afterwards: nothing.

use rumqttc::QoS;
use rustix::process::Signal;

use crate::clients::{Login, v311};
use crate::dev::{Place, is_running, kill, processes_of, text, until};

#[tokio::test]
async fn a_process_that_dies_is_started_again_and_the_ready_file_says_so() {
    let place = Place::new();
    let mut dev = place.start().await;
    let login = Login::of(&dev.ready, 0);
    let mut keeper = v311::Client::connect(&login, "keeper", false).await;
    keeper.subscribe("kept/#", QoS::AtLeastOnce).await;
    drop(keeper);
    for at in [0, 2, 1] {
        let before = dev.ready.clone();
        let pids = dev.pids();
        kill(pids[at], Signal::KILL);
        dev.until_ready_again(&before).await;
        let now = dev.pids();
        assert!(
            !is_running(pids[at]) && is_running(now[at]),
            "{}",
            dev.stderr()
        );
        assert_eq!(before["credentials"], dev.ready["credentials"]);

        let mut publisher = v311::Client::connect(&login, "publisher", true).await;
        publisher
            .publish("kept/a", QoS::AtLeastOnce, false, &at.to_string())
            .await;
        let quotas = place.tessera("quota get demo -o json").await;
        assert!(quotas.status.success(), "{}", text(&quotas.stderr));
    }
    let mut keeper = v311::Client::connect(&login, "keeper", false).await;
    for at in ["0", "2", "1"] {
        assert_eq!(text(&keeper.next().await.payload), at, "a message was lost");
    }
    dev.signal(Signal::INT);
    assert!(dev.ended().await.success());
    assert_eq!(processes_of(&place.data()), [] as [String; 0]);
}

#[tokio::test]
async fn after_a_kill_the_next_start_ends_what_is_left_and_keeps_all_that_was_there() {
    let place = Place::new();
    // Without `setpriv` nobody ends PostgreSQL but the next start.
    let mut command = place.command();
    command.env("PATH", place.path("no programs"));
    let mut dev = place.start_with(command).await;
    let login = Login::of(&dev.ready, 0);
    let mut publisher = v311::Client::connect(&login, "publisher", true).await;
    publisher
        .publish("kept", QoS::AtLeastOnce, true, "retained")
        .await;
    let (before, former) = (dev.ready.clone(), dev.pids());
    dev.signal(Signal::KILL);
    dev.ended().await;
    assert!(is_running(former[2]), "PostgreSQL outlives it here");

    let mut dev = place.start().await;
    assert!(
        former.into_iter().all(|pid| !is_running(pid)),
        "{}",
        dev.stderr()
    );
    assert!(
        dev.stderr()
            .contains("ended the postgres that a former start left"),
        "{}",
        dev.stderr()
    );
    for same in [
        "api_url",
        "mqtt_port",
        "credentials",
        "tenant_api_key",
        "platform_api_key",
    ] {
        assert_eq!(dev.ready[same], before[same], "{same}");
    }
    let mut reader = v311::Client::connect(&login, "reader", true).await;
    reader.subscribe("kept", QoS::AtLeastOnce).await;
    assert_eq!(text(&reader.next().await.payload), "retained");

    // With it, everything ends even if nobody starts again.
    let pids = dev.pids();
    dev.signal(Signal::KILL);
    dev.ended().await;
    until("all children have ended", || async {
        pids.into_iter().all(|pid| !is_running(pid))
    })
    .await;
    assert_eq!(processes_of(&place.data()), [] as [String; 0]);
}

#[tokio::test]
async fn an_ephemeral_one_leaves_nothing_behind() {
    let place = Place::new();
    let temporary = place.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let ephemeral = || {
        let mut command = tokio::process::Command::new(crate::dev::TESSERA);
        command
            .args(["dev", "--ephemeral", "--ready-file"])
            .arg(place.path("ready.json"))
            .args(["--mqtt-port", &place.mqtt_port.to_string()])
            .args(["--api-port", &place.api_port.to_string()])
            .env("TMPDIR", &temporary)
            .env_remove("DATABASE_URL")
            .kill_on_drop(true);
        command
    };
    let mut killed = place.start_with(ephemeral()).await;
    killed.signal(Signal::KILL);
    killed.ended().await;
    let mut dev = place.start_with(ephemeral()).await;
    // That of the killed one is gone.
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
    let login = Login::of(&dev.ready, 0);
    v311::Client::connect(&login, "guest", true).await;
    dev.stop().await;
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(processes_of(&temporary), [] as [String; 0]);
}

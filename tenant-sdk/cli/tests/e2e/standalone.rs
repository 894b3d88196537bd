//! Devices are served without the control plane and its database, a restarted node included.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Stdio;

use rumqttc::QoS;
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::clients::{Login, v311};
use crate::dev::{Place, TESSERA, arguments_of, kill, text, until};

/// The node of an installation, without anything around it.
async fn start_node(arguments: &[String], log: &Path, port: u16) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let node = Command::new(TESSERA)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = || async move { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() };
    until("the node listens", listens).await;
    node
}

#[tokio::test]
async fn devices_go_on_while_the_control_plane_and_postgres_stand_still() {
    let place = Place::new();
    let mut dev = place.start().await;
    let [_node, control, postgres] = dev.pids();
    let login = Login::of(&dev.ready, 0);
    let mut before = v311::Client::connect(&login, "before", true).await;
    before.subscribe("still/#", QoS::AtLeastOnce).await;
    kill(control, Signal::STOP);
    kill(postgres, Signal::STOP);
    let mut after = v311::Client::connect(&login, "after", true).await;
    after
        .publish("still/here", QoS::AtLeastOnce, false, "yes")
        .await;
    assert_eq!(text(&before.next().await.payload), "yes");
    kill(postgres, Signal::CONT);
    kill(control, Signal::CONT);
    dev.stop().await;
}

#[tokio::test]
async fn a_node_restarts_and_serves_with_the_control_plane_and_postgres_gone() {
    let place = Place::new();
    let mut dev = place.start().await;
    let login = Login::of(&dev.ready, 0);
    let mut keeper = v311::Client::connect(&login, "keeper", false).await;
    keeper.subscribe("kept/#", QoS::AtLeastOnce).await;
    drop(keeper);
    let arguments = arguments_of(dev.pids()[0]);
    dev.stop().await;

    let log = place.path("node.log");
    for round in ["first", "second"] {
        let mut node = start_node(&arguments, &log, login.port).await;
        let mut publisher = v311::Client::connect(&login, "publisher", true).await;
        publisher
            .publish("kept/a", QoS::AtLeastOnce, false, round)
            .await;
        kill(node.id().unwrap(), Signal::KILL);
        node.wait().await.unwrap();
    }
    let _node = start_node(&arguments, &log, login.port).await;
    let mut keeper = v311::Client::connect(&login, "keeper", false).await;
    for round in ["first", "second"] {
        assert_eq!(
            text(&keeper.next().await.payload),
            round,
            "a message was lost"
        );
    }
}

#[tokio::test]
async fn a_killed_nodes_clients_leave_their_wills_unless_they_come_back() {
    let place = Place::new();
    let mut dev = place.start().await;
    let login = Login::of(&dev.ready, 0);
    let mut watcher = v311::Client::connect(&login, "watcher", false).await;
    watcher.subscribe("gone/#", QoS::AtLeastOnce).await;
    drop(watcher);
    let arguments = arguments_of(dev.pids()[0]);
    dev.stop().await;

    let log = place.path("node.log");
    let mut node = start_node(&arguments, &log, login.port).await;
    let _gone = v311::Client::connect_with_will(&login, "gone", "gone/gone", "gone").await;
    let _back = v311::Client::connect_with_will(&login, "back", "gone/back", "back").await;
    kill(node.id().unwrap(), Signal::KILL);
    node.wait().await.unwrap();

    let _node = start_node(&arguments, &log, login.port).await;
    let _back = v311::Client::connect(&login, "back", true).await;
    let mut watcher = v311::Client::connect(&login, "watcher", false).await;
    assert_eq!(text(&watcher.next().await.payload), "gone");
    // What comes next is the marker: nothing of `back` was before it.
    watcher
        .publish("gone/marker", QoS::AtLeastOnce, false, "marker")
        .await;
    assert_eq!(text(&watcher.next().await.payload), "marker");
}

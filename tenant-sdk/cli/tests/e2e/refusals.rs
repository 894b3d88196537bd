//! Starts that must not be: on a folder in use, on one that is not ours, on busy ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Output, Stdio};

use crate::clients::{Login, v311};
use crate::dev::{Place, text};

async fn refused(place: &Place) -> String {
    let Output { status, stderr, .. } = place
        .command()
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(status.code(), Some(1), "{}", text(&stderr));
    text(&stderr)
}

#[tokio::test]
async fn a_second_dev_is_refused_and_busy_ports_give_way() {
    let place = Place::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, place.mqtt_port)).unwrap();
    let mut dev = place.start().await;
    let port = dev.ready["mqtt_port"].as_u64().unwrap();
    assert!(port > u64::from(place.mqtt_port));
    let said = format!(
        "port {} is busy: MQTT is on port {port} instead",
        place.mqtt_port
    );
    assert!(dev.stderr().contains(&said), "{}", dev.stderr());
    v311::Client::connect(&Login::of(&dev.ready, 0), "guest", true).await;

    let text = refused(&place).await;
    let folder = place.data().display().to_string();
    assert!(
        text.contains(&format!(
            "another `tessera dev` is running on {folder} (process "
        )),
        "{text}"
    );
    // The first goes on, its ready file included.
    v311::Client::connect(&Login::of(&dev.ready, 0), "guest", true).await;
    assert!(place.path("ready.json").exists());
    drop(taken);
    dev.stop().await;
}

#[tokio::test]
async fn foreign_and_newer_folders_are_refused_untouched() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("thesis.tex"), "x").unwrap();
    let text = refused(&place).await;
    assert!(
        text.contains("is not a data folder of `tessera dev`, and not empty"),
        "{text}"
    );
    fs::write(
        place.data().join("tessera-dev.json"),
        r#"{"format":99,"made_by":"9.9"}"#,
    )
    .unwrap();
    let text = refused(&place).await;
    assert!(
        text.contains("was written by a newer Tessera (format 99"),
        "{text}"
    );
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 2);
}

//! What an operator reads of one tenant.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rumqttc::QoS;
use serde_json::{Value, json};

use crate::clients::{Login, v311};
use crate::dev::{Place, arguments_of, text};

/// The answer to a GET: status and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn the_figures_of_a_tenant_are_those_of_what_its_devices_did() {
    let place = Place::new();
    let mut dev = place.start().await;
    let login = Login::of(&dev.ready, 0);
    let mut keeper = v311::Client::connect(&login, "keeper", false).await;
    keeper.subscribe("kept/#", QoS::AtLeastOnce).await;
    drop(keeper);
    let mut speaker = v311::Client::connect(&login, "speaker", true).await;
    speaker.subscribe("live", QoS::AtMostOnce).await;
    for at in 0..3 {
        let payload = at.to_string();
        speaker
            .publish("kept/a", QoS::AtLeastOnce, at == 0, &payload)
            .await;
    }
    let tenant = place.tessera("tenant get demo -o json").await;
    let tenant: Value = serde_json::from_slice(&tenant.stdout).unwrap();
    let id = tenant["id"].as_str().unwrap();
    let arguments = arguments_of(dev.pids()[0]);
    let at = arguments
        .iter()
        .position(|option| option == "--admin-listen");
    let address = &arguments[at.unwrap() + 1];
    let (status, body) = get(address, &format!("/tenants/{id}"));
    assert_eq!(status, 200, "{body}");
    let figures: Value = serde_json::from_str(&body).unwrap();
    for (name, value) in [
        ("routes", 2),
        ("sessions", 1),
        ("subscriptions", 1),
        ("queued_messages", 3),
        ("retained_messages", 1),
    ] {
        assert_eq!(figures[name], value, "{name} of {figures}");
    }
    let none = json!({
        "expired": 0,
        "not_authorized": 0,
        "outbox_full": 0,
        "queue_full": 0,
        "too_large": 0,
    });
    assert_eq!(figures["dropped"], none);
    let (status, body) = get(address, "/tenants/nobody");
    assert_eq!((status, body.contains("ten_")), (400, true), "{body}");
    let stranger = format!("ten_{}", "0".repeat(26));
    assert_eq!(get(address, &format!("/tenants/{stranger}")).0, 404);
    let (_, metrics) = get(address, "/metrics");
    let reason = "tessera_mqtt_messages_dropped_total{reason=\"queue_full\"} 0";
    assert!(metrics.contains(reason), "{metrics}");
    assert!(!metrics.contains(id), "{}", text(metrics.as_bytes()));
    dev.stop().await;
}

//! From nothing to the first message, as a newcomer meets it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use rumqttc::QoS;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::clients::{Login, v5, v311};
use crate::dev::{Place, TESSERA, is_running, processes_of, text};

#[tokio::test]
async fn dev_starts_everything_and_real_clients_exchange_messages() {
    let place = Place::new();
    let mut dev = place.start().await;
    the_ready_file_tells_what_it_promises(&place, &dev.ready);

    let (first, second) = (Login::of(&dev.ready, 0), Login::of(&dev.ready, 1));
    let mut old = v311::Client::connect(&first, "old", true).await;
    old.subscribe("sensors/+/temp", QoS::ExactlyOnce).await;
    let mut new = v5::Client::connect(&second, "new").await;
    new.subscribe("sensors/#", rumqttc::v5::mqttbytes::QoS::AtLeastOnce)
        .await;
    let mut publisher = v311::Client::connect(&first, "publisher", true).await;
    for (qos, number) in [
        (QoS::AtMostOnce, "0"),
        (QoS::AtLeastOnce, "1"),
        (QoS::ExactlyOnce, "2"),
    ] {
        publisher
            .publish("sensors/1/temp", qos, false, number)
            .await;
        let got = old.next().await;
        assert_eq!((text(&got.payload).as_str(), got.qos), (number, qos));
        assert_eq!(text(&new.next().await.payload), number);
    }
    new.publish("sensors/2/temp", "from 5").await;
    assert_eq!(text(&old.next().await.payload), "from 5");

    the_command_line_publishes_and_subscribes(&place).await;
    a_person_finds_the_lines_to_paste(&dev.stdout());

    let pids = dev.pids();
    dev.stop().await;
    assert!(
        pids.into_iter().all(|pid| !is_running(pid)),
        "{:?}",
        processes_of(&place.data())
    );
    assert!(!place.path("ready.json").exists());
}

fn the_ready_file_tells_what_it_promises(place: &Place, ready: &serde_json::Value) {
    let mode = fs::metadata(place.path("ready.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        ready["api_url"],
        format!("http://127.0.0.1:{}", place.api_port)
    );
    assert_eq!(
        (&ready["mqtt_host"], &ready["mqtt_port"]),
        (&"127.0.0.1".into(), &place.mqtt_port.into())
    );
    assert_eq!(ready["tenant"], "demo");
    assert_eq!(ready["credentials"].as_array().unwrap().len(), 2);
    for key in ["tenant_api_key", "platform_api_key"] {
        assert!(ready[key].as_str().unwrap().starts_with("tsk_"), "{key}");
    }
    for pid in [
        &ready["node_pids"][0],
        &ready["control_pid"],
        &ready["postgres_pid"],
    ] {
        let pid = pid.as_u64().unwrap();
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(
            arguments.contains(place.data().to_str().unwrap()),
            "{arguments}"
        );
    }
}

async fn the_command_line_publishes_and_subscribes(place: &Place) {
    let mut subscriber = Command::new(TESSERA)
        .args([
            "sub", "--as", "device-2", "--count", "2", "-o", "json", "cli/#",
        ])
        .env("TESSERA_CONTEXT", place.data().join("dev.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    assert_eq!(
        told.next_line().await.unwrap().unwrap(),
        "subscribed to cli/# with QoS 1"
    );
    for line in ["pub cli/a hello", "pub -V 3.1.1 -q 2 cli/b world"] {
        let done = place.tessera(line).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert_eq!(text(&done.stderr), "1 sent, 1 accepted\n");
    }
    let output = subscriber.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let expected = r#"{"topic":"cli/a","payload":"hello","qos":1,"retain":false}
{"topic":"cli/b","payload":"world","qos":1,"retain":false}
"#;
    assert_eq!(text(&output.stdout), expected);
}

fn a_person_finds_the_lines_to_paste(banner: &str) {
    let lines = [
        "mosquitto_sub -h 127.0.0.1 -p ",
        "mosquitto_pub -h 127.0.0.1 -p ",
        "curl -s http://",
    ];
    for start in lines {
        assert!(
            banner
                .lines()
                .any(|line| line.trim_start().starts_with(start)),
            "{banner}"
        );
    }
}

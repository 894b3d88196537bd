//! One limit end to end: told to the device, raised over REST, live at once.

use crate::dev::{Place, text};

#[tokio::test]
async fn a_limit_is_told_with_its_reason_and_a_raise_is_live_at_once() {
    let place = Place::new();
    let mut dev = place.start().await;
    let storm = "pub --tenant tiny --repeat 1000 -o json storm hello";
    let refused = place.tessera(storm).await;
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    let reason = "publishes_per_second 100 reached on plan free (quota exceeded, 0x97)";
    assert!(
        text(&refused.stderr).contains(reason),
        "{}",
        text(&refused.stderr)
    );
    let outcome: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(outcome["sent"], 1_000);
    assert!(outcome["refused"].as_u64().unwrap() > 0 && outcome["accepted"].as_u64().unwrap() > 0);

    let raised = place
        .tessera("quota set tiny publishes_per_second=100000")
        .await;
    assert!(raised.status.success(), "{}", text(&raised.stderr));
    assert_eq!(text(&raised.stderr), "changed: applied on 1 of 1 nodes\n");
    let accepted = place.tessera(storm).await;
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));

    let few = place
        .tessera("quota set tiny connections=1 --reason test")
        .await;
    assert!(few.status.success(), "{}", text(&few.stderr));
    let table = place.tessera("quota get tiny").await;
    assert!(
        text(&table.stdout).contains("override: test"),
        "{}",
        text(&table.stdout)
    );
    dev.stop().await;
}

#[tokio::test]
async fn the_command_line_gives_the_codes_that_scripts_rely_on() {
    let place = Place::new();
    let mut dev = place.start().await;
    for (line, code) in [
        ("tenant create acme --plan pro --label env=test", 0),
        ("tenant create acme", 5),
        ("tenant get acme -o json", 0),
        ("tenant get none", 4),
        ("tenant list --api-key tsk_wrong", 3),
        ("tenant delete acme", 2),
        ("credential create acme sensor-7", 0),
        ("credential create acme sensor-7", 5),
        ("credential list acme", 0),
        ("quota set acme connections=5", 0),
        ("quota reset acme connections", 0),
        ("tenant suspend acme", 0),
        ("tenant resume acme", 0),
        ("tenant delete acme --yes", 0),
        ("pub --as nobody a b", 1),
        ("pub -u demo.device-1 -P tsd_wrong a b", 3),
        ("pub a/# b", 1),
        ("quota set demo connections=few", 2),
        ("--version", 0),
    ] {
        let output = place.tessera(line).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{line}: {}",
            text(&output.stderr)
        );
    }
    dev.stop().await;
}

//! No task panics.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

pub(crate) const NAME: &str = "no panic";

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Counts panics of this thread from now on, and keeps them off the terminal.
pub(crate) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            if !IS_WATCHED.get() {
                before(info);
            } else if let Some(place) = info.location() {
                LAST.with_borrow_mut(|last| *last = format!("{place}: {info}"));
            }
        }));
    });
    IS_WATCHED.set(true);
    PANICS.set(0);
}

thread_local! {
    static LAST: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Stops counting: how many there were, and the last one's words.
pub(crate) fn end() -> Result<(), String> {
    IS_WATCHED.set(false);
    check(PANICS.replace(0), &LAST.take())
}

fn check(panics: u64, last: &str) -> Result<(), String> {
    if panics == 0 {
        return Ok(());
    }
    Err(format!("{panics} panics, the last: {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_was_caught_is_noticed() {
        watch();
        drop(panic::catch_unwind(|| panic!("made up")));
        let held = end();
        assert!(held.unwrap_err().contains("made up"));
    }
}

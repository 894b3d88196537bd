//! Which ports to listen on: what was asked for, else the former ones, else the usual; a busy port
//! gives way to the next free one.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Ports that are tried after a busy one.
const TRIES_MAX: u16 = 200;

/// What is known of a port before it is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// By an option.
    pub(crate) asked: Option<u16>,
    /// By the start before.
    pub(crate) remembered: Option<u16>,
    /// If neither is there.
    pub(crate) usual: u16,
}

/// A port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) port: u16,
    /// The port that was wanted and is busy.
    pub(crate) instead_of: Option<u16>,
}

/// Every port that was tried is busy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("ports {first} to {last} are all busy")]
pub(crate) struct AllBusy {
    first: u16,
    last: u16,
}

impl Wish {
    /// The first free port from the wanted one on that is not among those given out already.
    pub(crate) fn choose(
        self,
        given_out: &[u16],
        is_free: impl Fn(u16) -> bool,
    ) -> Result<Chosen, AllBusy> {
        let first = self.asked.or(self.remembered).unwrap_or(self.usual);
        let last = first.saturating_add(TRIES_MAX);
        let port = (first..=last)
            .find(|port| !given_out.contains(port) && is_free(*port))
            .ok_or(AllBusy { first, last })?;
        Ok(Chosen {
            port,
            instead_of: (port != first).then_some(first),
        })
    }
}

/// Whether this machine lets us listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Some port that nobody listens on.
pub(crate) fn any_free() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish {
        asked: None,
        remembered: None,
        usual: 1883,
    };

    #[test]
    fn asked_comes_before_remembered_before_usual() {
        let chosen = |wish: Wish| wish.choose(&[], |_| true).unwrap();
        assert_eq!(
            chosen(WISH),
            Chosen {
                port: 1883,
                instead_of: None
            }
        );
        let remembered = Wish {
            remembered: Some(1890),
            ..WISH
        };
        assert_eq!(chosen(remembered).port, 1890);
        assert_eq!(
            chosen(Wish {
                asked: Some(2000),
                ..remembered
            })
            .port,
            2000
        );
    }

    #[test]
    fn a_busy_port_gives_way_to_the_next_free_one() {
        let chosen = WISH.choose(&[1885], |port| port > 1884);
        assert_eq!(
            chosen,
            Ok(Chosen {
                port: 1886,
                instead_of: Some(1883)
            })
        );
        let wish = Wish {
            asked: Some(65_535),
            ..WISH
        };
        let busy = wish.choose(&[], |_| false);
        assert_eq!(
            busy,
            Err(AllBusy {
                first: 65_535,
                last: 65_535
            })
        );
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(held.local_addr().unwrap().port()));
        assert!(is_free(any_free().unwrap()));
    }
}

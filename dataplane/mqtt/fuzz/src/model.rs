//! The grammar of frames, texts, topics and filters a second time: plain rather than fast.

/// Bytes of the frame that these begin with, whether or not all of it is there. `None`: the header
/// is not complete, or none.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let group = |byte: u8, weight: usize| usize::from(byte & 0x7F) * weight;
    let is_last = |byte: u8| byte < 0x80;
    match *bytes {
        [_, a, ..] if is_last(a) => Some(2 + group(a, 1)),
        [_, a, b, ..] if is_last(b) => Some(3 + group(a, 1) + group(b, 1 << 7)),
        [_, a, b, c, ..] if is_last(c) => {
            Some(4 + group(a, 1) + group(b, 1 << 7) + group(c, 1 << 14))
        }
        [_, a, b, c, d, ..] if is_last(d) => {
            Some(5 + group(a, 1) + group(b, 1 << 7) + group(c, 1 << 14) + group(d, 1 << 21))
        }
        _ => None,
    }
}

/// Whether bytes are a string of MQTT.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= 65_535 && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}

/// Whether a string of MQTT is a topic name of at most so many levels.
pub(crate) fn is_topic_name(text: &str, levels_max: usize) -> bool {
    !text.is_empty()
        && !text.contains(['+', '#'])
        && split_share(text).is_none()
        && text.split('/').count() <= levels_max
}

/// Whether a string of MQTT is a topic filter of at most so many levels, shared or not.
pub(crate) fn is_filter(text: &str, levels_max: usize) -> bool {
    let Some(shared) = split_share(text) else {
        return is_plain_filter(text, levels_max);
    };
    let Some((name, filter)) = shared.split_once('/') else {
        return false;
    };
    !name.is_empty() && !name.contains(['+', '#']) && is_plain_filter(filter, levels_max)
}

fn is_plain_filter(text: &str, levels_max: usize) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let (last, parents) = match levels.split_last() {
        Some((last, parents)) => (*last, parents),
        None => return false,
    };
    let is_level = |level: &str| level == "+" || !level.contains(['+', '#']);
    !text.is_empty()
        && split_share(text).is_none()
        && levels.len() <= levels_max
        && parents.iter().all(|level| is_level(level))
        && (last == "#" || is_level(last))
}

/// What follows the prefix of a shared subscription.
pub(crate) fn split_share(text: &str) -> Option<&str> {
    text.strip_prefix("$share/")
        .or_else(|| text.strip_prefix("$oshare/"))
}

//! Short names for contents: the hash of a pod template in names and labels.

use serde_json::Value;

/// No vowels and no look-alikes: a hash spells no word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Ten characters at most for the value and the count of collisions (FNV-1a over its compact JSON, whose keys are sorted).
pub fn of(value: &Value, collisions: i64) -> String {
    let mut hash = fnv(0x811c_9dc5, value.to_string().as_bytes());
    if collisions > 0 {
        hash = fnv(hash, &collisions.to_le_bytes());
    }
    safe(&hash.to_string())
}

/// A random suffix of five characters, as `generateName` adds.
pub fn suffix(random: &[u8]) -> String {
    random.iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

fn fnv(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn safe(text: &str) -> String {
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

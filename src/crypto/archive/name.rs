//! Which paths an archive may hold. Never touches the disk.

/// Longest path, and longest part of one: what Linux allows.
const LONGEST: usize = 4096;
const LONGEST_PART: usize = 255;

/// Whether a path below `payload/` is relative, plain and stays where it is put.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > LONGEST {
        return Err("a path of no length or more than 4096 bytes");
    }
    if path.contains(['\\', '\0']) {
        return Err("a backslash or zero byte in a path");
    }
    for part in path.split('/') {
        match part {
            "" => return Err("an absolute path, or an empty part of one"),
            "." | ".." => return Err("a path that climbs"),
            long if long.len() > LONGEST_PART => return Err("a name of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn atk_b01_only_plain_relative_paths_pass() {
        for good in ["memory.jsonl", "a/b/c", "..a", "a..", "with space", "new\nline", "é"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        let long = "a".repeat(256);
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "a//b", "a/", "..\\x", "C:\\x", "a\0b", &long] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}

//! A look at ONNX Runtime's shared library before `ort` opens it, since ort's initialisation never returns for a library
//! that is missing, damaged or too old. Pure: reads bytes, opens nothing.

/// Oldest ONNX Runtime that has the ABI we build against (the `api-24` feature of ort).
const OLDEST_MINOR: u32 = 24;

/// Looks at ELF header and length, and at the symbol version `VERS_1.x` that ONNX Runtime's linker script puts into
/// every release.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let field = |at: usize, n: usize| -> Option<u64> {
        let raw = bytes.get(at..at + n)?;
        Some(raw.iter().rev().fold(0, |value, &b| value << 8 | u64::from(b)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err("is not a 64-bit shared library".into());
    }
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        other => return Err(format!("machine {other} is not supported")),
    };
    if field(18, 2) != Some(machine) {
        return Err(format!("is not built for {}", std::env::consts::ARCH));
    }
    // The section header table is the last thing in a linked file.
    let end = field(40, 8).zip(field(58, 2)).zip(field(60, 2)).map(|((at, size), n)| at.saturating_add(size * n));
    if end.is_none_or(|end| end > bytes.len() as u64) {
        return Err("is truncated".into());
    }
    let mark = b"VERS_1.";
    let minor = bytes.windows(mark.len()).enumerate().filter(|(_, w)| w == mark).find_map(|(at, _)| {
        let digits: Vec<u8> = bytes[at + mark.len()..].iter().copied().take_while(u8::is_ascii_digit).take(6).collect();
        std::str::from_utf8(&digits).ok()?.parse::<u32>().ok()
    });
    match minor {
        None => Err("is not ONNX Runtime".into()),
        Some(minor) if minor < OLDEST_MINOR => Err(format!("version 1.{minor} is too old, 1.{OLDEST_MINOR} is needed")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bad_libraries_are_refused_before_ort_sees_them() {
        let elf = |version: &str, machine: u8, end: u64| {
            let mut bytes = vec![0_u8; 128];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[18] = machine;
            bytes[40..48].copy_from_slice(&end.to_le_bytes());
            bytes[70..70 + version.len()].copy_from_slice(version.as_bytes());
            bytes
        };
        let ours = if std::env::consts::ARCH == "x86_64" { 62 } else { 183 };
        let check = |bytes: &[u8], expected: &str| match super::check(bytes) {
            Ok(()) => assert_eq!(expected, ""),
            Err(reason) => assert!(!expected.is_empty() && reason.contains(expected), "{reason} / {expected}"),
        };
        check(&elf("VERS_1.31.1", ours, 100), "");
        check(&elf("VERS_1.24", ours, 100), "");
        check(&elf("VERS_1.17.3", ours, 100), "too old");
        check(&elf("something", ours, 100), "not ONNX Runtime");
        check(&elf("VERS_1.31.1", 3, 100), "not built for");
        check(&elf("VERS_1.31.1", ours, 1 << 40), "truncated");
        check(b"hello", "not a 64-bit shared library");
        check(b"", "not a 64-bit shared library");
    }
}

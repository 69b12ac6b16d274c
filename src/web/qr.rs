//! A QR code as the shape of an inline SVG: dark squares on a light ground. Never an image file, and never kept.

use std::fmt::Write;

use qrcodegen::{QrCode, QrCodeEcc};

// ISO/IEC 18004: four modules of quiet ground around it.
const QUIET: i32 = 4;

/// A QR code.
#[derive(Clone, Debug, Default)]
pub struct Qr {
    /// Its side with the quiet ground, in modules.
    pub side: i32,
    /// The `d` of one path over all dark modules.
    pub path: String,
}

impl Qr {
    /// The code of a text; `None` when it is too long for one.
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            let mut x = 0;
            while x < code.size() {
                let run = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
                let run = i32::try_from(run).ok()?;
                if run > 0 {
                    write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET).ok()?;
                }
                x += run.max(1);
            }
        }
        Some(Self { side: code.size() + 2 * QUIET, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dark_module_is_in_the_path_and_no_other() {
        let text = "otpauth://totp/Lifeboat:ana?secret=GEZDGNBVGY3TQOJQ";
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).unwrap();
        let qr = Qr::of(text).unwrap();
        let mut drawn = 0;
        for run in qr.path.split('M').skip(1) {
            let (place, rest) = run.split_once('h').unwrap();
            let (x, y) = place.split_once(' ').unwrap();
            let (x, y): (i32, i32) = (x.parse().unwrap(), y.parse().unwrap());
            let wide: i32 = rest.split_once('v').unwrap().0.parse().unwrap();
            for x in x..x + wide {
                assert!(code.get_module(x - QUIET, y - QUIET), "{x} {y}");
                drawn += 1;
            }
        }
        let dark = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y))).filter(|(x, y)| code.get_module(*x, *y));
        assert_eq!(drawn, dark.count());
        assert_eq!(qr.side, code.size() + 8);
        assert!(Qr::of(&"x".repeat(10_000)).is_none());
    }
}

//! Numbers as decimal digits, without the machinery of formatting: they stand on the path of every request.

/// The number.
pub(super) fn push(number: u64, out: &mut Vec<u8>) {
    push_digits(number, 1, out);
}

/// The number, with zeros before it up to this width.
pub(super) fn push_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    push_digits(number.into(), width, out);
}

fn push_digits(number: u64, width: usize, out: &mut Vec<u8>) {
    // As many as the largest number has.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut left = number;
    while left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let first = at.min(digits.len().saturating_sub(width));
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_formatting_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 404, 65_535, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            push(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for number in [0, 7, 1_500, 999_999, 1_234_567] {
            let mut out = Vec::new();
            push_padded(number, 6, &mut out);
            assert_eq!(out, format!("{number:06}").as_bytes());
        }
    }
}

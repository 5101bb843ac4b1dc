//! Arrays of NumPy, as `numpy.save` writes them: `.npy`, versions 1 to 3.

use half::f16;

/// Reads floats with their shape, or says what the file is instead.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY");
    let rest = rest.ok_or("the file is no .npy of NumPy")?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err("the file is a .npy of an unknown version".to_owned()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or("the file is cut")?;
    let header = String::from_utf8_lossy(header);
    if value(&header, "fortran_order") != Some("False") {
        return Err(
            "the array is not in the order of C; save `numpy.ascontiguousarray` of it".to_owned(),
        );
    }
    let shape = value(&header, "shape").and_then(shape_of);
    let shape = shape.ok_or("the header of the file has no shape")?;
    let kind = value(&header, "descr").unwrap_or_default();
    let floats = match kind.trim_matches(['\'', '"']) {
        "<f2" => floats(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        "<f4" => floats(data, f32::from_le_bytes),
        "<f8" => floats(data, |bytes| f64::from_le_bytes(bytes) as f32),
        other => {
            return Err(format!(
                "the numbers are to be floats, and these are {other:?}"
            ));
        }
    };
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &length| count.checked_mul(length));
    match floats {
        Some(floats) if count == Some(floats.len()) => Ok((shape, floats)),
        _ => Err(format!("the file is cut, its shape is {shape:?}")),
    }
}

fn floats<const N: usize>(data: &[u8], float: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
    let (parts, rest) = data.as_chunks::<N>();
    rest.is_empty()
        .then(|| parts.iter().map(|part| float(*part)).collect())
}

/// Returns the value of a key of the header, which is a dictionary of Python.
fn value<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    let rest = rest.trim_start();
    let end = match rest.strip_prefix('(') {
        Some(inner) => inner.find(')')? + 2,
        None => rest.find([',', '}'])?,
    };
    rest.get(..end).map(str::trim)
}

fn shape_of(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let lengths = inner
        .split(',')
        .map(str::trim)
        .filter(|length| !length.is_empty());
    lengths.map(|length| length.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn floats_are_read_with_their_shape() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }    \n";
        let data: Vec<u8> = [1.5_f32, -2.0]
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        assert_eq!(
            read(&file(header, &data)),
            Ok((vec![2, 1], vec![1.5, -2.0]))
        );
        let wide = header.replace("<f4", "<f8").replace("(2, 1)", "(1,)");
        assert_eq!(
            read(&file(&wide, &3.0_f64.to_le_bytes())),
            Ok((vec![1], vec![3.0]))
        );
        let half = header.replace("<f4", "<f2").replace("(2, 1)", "()");
        assert_eq!(
            read(&file(&half, &f16::from_f32(0.5).to_le_bytes())),
            Ok((vec![], vec![0.5]))
        );
    }

    #[test]
    fn what_is_no_array_of_floats_is_said() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let said = [
            read(b"PK"),
            read(b"\x93NUMPY\x09\x00"),
            read(&file(header, &[0; 4])),
            read(&file(header, &[0; 7])),
            read(&file(&header.replace("<f4", "|u1"), &[0; 2])),
            read(&file(&header.replace("False", "True"), &[0; 8])),
            read(&file(
                &header.replace("(2,)", "(4611686018427387904, 8)"),
                &[0; 8],
            )),
            read(&file("{}", &[])),
        ];
        let said = said.map(|read| read.unwrap_err());
        insta::assert_snapshot!(said.join("\n"), @r#"
        the file is no .npy of NumPy
        the file is a .npy of an unknown version
        the file is cut, its shape is [2]
        the file is cut, its shape is [2]
        the numbers are to be floats, and these are "|u1"
        the array is not in the order of C; save `numpy.ascontiguousarray` of it
        the file is cut, its shape is [4611686018427387904, 8]
        the array is not in the order of C; save `numpy.ascontiguousarray` of it
        "#);
    }
}

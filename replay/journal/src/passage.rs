//! The passage of a run's model, kept so that a fork need not compute it again.

use super::exchange::{decode_value, encode_value, items};
use super::pack::{self, Unexpected, Unpacker};
use super::record::{PassageRecord, PassedCallRecord, PassingRecord};

/// Appends the payload of a passage to `out`.
pub(super) fn encode(passage: &PassageRecord, out: &mut Vec<u8>) -> Result<(), String> {
    pack::array(out, FIELDS);
    pack::uint(out, passage.run.into());
    pack::array(out, passage.points.len());
    for point in &passage.points {
        pack::text(out, point);
    }
    pack::array(out, passage.passings.len());
    for passing in &passage.passings {
        pack::array(out, 3);
        pack::uint(out, passing.point.into());
        pack::uint(out, passing.exchanges);
        match &passing.given {
            Some(given) => encode_value(given, out, 0)?,
            None => pack::nil(out),
        }
    }
    pack::array(out, passage.calls.len());
    for call in &passage.calls {
        pack::array(out, 3);
        pack::uint(out, call.begin.into());
        pack::uint(out, call.end.into());
        encode_value(&call.output, out, 0)?;
    }
    Ok(())
}

/// Reads the payload of a passage.
pub(super) fn decode(payload: &[u8]) -> Result<PassageRecord, String> {
    let passage = parse(payload).map_err(|error| error.to_string())?;
    check(&passage)?;
    Ok(passage)
}

const FIELDS: usize = 4;

fn parse(payload: &[u8]) -> Result<PassageRecord, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(FIELDS, "a passage's run, points, passings and calls")?;
    let passage = PassageRecord {
        run: unpacker.u32_number()?,
        points: items(&mut unpacker, |unpacker| Ok(unpacker.text()?.to_owned()))?,
        passings: items(&mut unpacker, |unpacker| {
            unpacker.array_of(3, "a passing's point, exchanges and value")?;
            Ok(PassingRecord {
                point: unpacker.u32_number()?,
                exchanges: unpacker.uint()?,
                given: match unpacker.nil() {
                    true => None,
                    false => Some(decode_value(unpacker, 0)?),
                },
            })
        })?,
        calls: items(&mut unpacker, |unpacker| {
            unpacker.array_of(3, "a call's begin, end and output")?;
            Ok(PassedCallRecord {
                begin: unpacker.u32_number()?,
                end: unpacker.u32_number()?,
                output: decode_value(unpacker, 0)?,
            })
        })?,
    };
    unpacker.end()?;
    Ok(passage)
}

/// Refuses a passage that cannot be, so that its readers need not check.
fn check(passage: &PassageRecord) -> Result<(), String> {
    let points = passage.points.len();
    let is_named = |passing: &PassingRecord| (passing.point as usize) < points;
    if let Some(passing) = passage.passings.iter().find(|passing| !is_named(passing)) {
        return Err(format!(
            "expected a point below {points}, found {}",
            passing.point
        ));
    }
    if !passage
        .passings
        .is_sorted_by_key(|passing| passing.exchanges)
    {
        return Err("expected no passing with fewer exchanges than one before it".to_owned());
    }
    let passings = passage.passings.len();
    let is_within =
        |call: &PassedCallRecord| call.begin < call.end && call.end as usize <= passings;
    if let Some(call) = passage.calls.iter().find(|call| !is_within(call)) {
        let (begin, end) = (call.begin, call.end);
        return Err(format!(
            "expected a call within the {passings} passings, found {begin} to {end}"
        ));
    }
    let is_after = |calls: &[PassedCallRecord]| calls[0].begin < calls[1].begin;
    if !passage.calls.windows(2).all(is_after) {
        return Err("expected calls in the order in which they begin".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_passage_comes_back_from_its_bytes() {
        let mut bytes = Vec::new();
        encode(&samples::passage(0), &mut bytes).unwrap();
        assert_eq!(decode(&bytes), Ok(samples::passage(0)));
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut PassageRecord)| {
            let mut passage = samples::passage(0);
            change(&mut passage);
            let mut bytes = Vec::new();
            encode(&passage, &mut bytes).unwrap();
            decode(&bytes).unwrap_err()
        };
        let reasons = [
            refused(|passage| passage.passings[0].point = 2),
            refused(|passage| passage.passings[0].exchanges = u64::MAX),
            refused(|passage| passage.calls[0].end = 4),
            refused(|passage| passage.calls[0].begin = 3),
            refused(|passage| passage.calls.push(passage.calls[0].clone())),
        ];
        insta::assert_snapshot!(reasons.join("\n"), @r"
        expected a point below 2, found 2
        expected no passing with fewer exchanges than one before it
        expected a call within the 3 passings, found 0 to 4
        expected a call within the 3 passings, found 3 to 2
        expected calls in the order in which they begin
        ");
    }
}

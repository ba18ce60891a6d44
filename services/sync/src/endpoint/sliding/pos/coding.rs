//! The bytes of what was told: flags; tag; extensions; checksum; classes; marks by index, as runs or packed, whichever is
//! shorter; exceptions.

use std::collections::BTreeMap;

use plexus_matrix_http::token::{SyncToken, TokenError, varint};

use super::{Behind, Class, FIRST_CLASS, Pos};
use crate::limits;

const EXHAUSTED: u8 = 1;
const REST_IS_LOST: u8 = 2;
const PACKED: u8 = 4;

/// Most rooms that a token counts; who has more is told anew of the rest.
const MAX_ROOMS: usize = 1 << 16;

pub(super) fn write(pos: &Pos) -> Vec<u8> {
    let marks = &pos.marks[..pos.marks.len().min(MAX_ROOMS)];
    let width = width(pos.classes.len());
    let (runs, packed) = (runs(marks, width), packed(marks, width));
    let is_packed = packed.len() < runs.len();
    let mut flags = 0;
    for (flag, is_set) in [
        (EXHAUSTED, pos.exhausted || marks.len() < pos.marks.len()),
        (REST_IS_LOST, pos.rest != super::NEVER || marks.len() < pos.marks.len()),
        (PACKED, is_packed),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let mut out = vec![flags];
    out.extend(pos.tag.to_le_bytes());
    out.push(pos.extensions);
    out.extend(pos.checksum.to_le_bytes());
    varint::put(&mut out, pos.classes.len() as u64);
    for class in &pos.classes {
        varint::put(&mut out, class.limit.into());
        out.extend(class.state.to_le_bytes());
        out.push(class.scopes);
    }
    varint::put(&mut out, marks.len() as u64);
    out.extend(if is_packed { packed } else { runs });
    let exceptions = pos.behind.range(..marks.len());
    varint::put(&mut out, exceptions.clone().count() as u64);
    let mut next = 0;
    for (index, behind) in exceptions {
        varint::put(&mut out, (index - next) as u64);
        varint::put(&mut out, behind.rooms);
        varint::put(&mut out, behind.users);
        next = index + 1;
    }
    out
}

pub(super) fn read(vector: SyncToken, mut bytes: &[u8]) -> Result<Pos, TokenError> {
    let bytes = &mut bytes;
    let [flags] = array(bytes)?;
    if flags & !(EXHAUSTED | REST_IS_LOST | PACKED) != 0 {
        return Err(TokenError);
    }
    let tag = u32::from_le_bytes(array(bytes)?);
    let [extensions] = array(bytes)?;
    let checksum = u32::from_le_bytes(array(bytes)?);
    let count = number(bytes, limits::SLIDING_CLASSES)?;
    let mut classes = Vec::with_capacity(count);
    for _ in 0..count {
        let limit = u16::try_from(varint::take(bytes)?).map_err(|_| TokenError)?;
        let state = u64::from_le_bytes(array(bytes)?);
        let [scopes] = array(bytes)?;
        classes.push(Class { limit, state, scopes });
    }
    let count_of_marks = number(bytes, MAX_ROOMS)?;
    let width = width(count);
    let marks = if flags & PACKED == 0 {
        read_runs(bytes, count_of_marks, width)?
    } else {
        read_packed(bytes, count_of_marks, width)?
    };
    if marks.iter().any(|mark| usize::from(*mark) >= count + usize::from(FIRST_CLASS)) {
        return Err(TokenError);
    }
    let mut behind = BTreeMap::new();
    let mut next = 0;
    for _ in 0..number(bytes, limits::SLIDING_EXCEPTIONS)? {
        let index = next + number(bytes, MAX_ROOMS)?;
        if index >= marks.len() {
            return Err(TokenError);
        }
        let rooms = varint::take(bytes)?;
        behind.insert(index, Behind { rooms, users: varint::take(bytes)? });
        next = index + 1;
    }
    if !bytes.is_empty() {
        return Err(TokenError);
    }
    let rest = if flags & REST_IS_LOST == 0 { super::NEVER } else { super::LOST };
    let exhausted = flags & EXHAUSTED != 0;
    Ok(Pos { vector, tag, extensions, exhausted, checksum, classes, marks, rest, behind })
}

/// Bits that a mark takes.
fn width(classes: usize) -> u32 {
    match classes {
        0 => 1,
        1 | 2 => 2,
        _ => 3,
    }
}

fn runs(marks: &[u8], width: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for run in marks.chunk_by(|one, other| one == other) {
        varint::put(&mut out, (run.len() as u64) << width | u64::from(run[0]));
    }
    out
}

fn read_runs(bytes: &mut &[u8], count: usize, width: u32) -> Result<Vec<u8>, TokenError> {
    let mut marks = Vec::with_capacity(count);
    while marks.len() < count {
        let run = varint::take(bytes)?;
        let length = usize::try_from(run >> width).map_err(|_| TokenError)?;
        let mark = u8::try_from(run & ((1 << width) - 1)).map_err(|_| TokenError)?;
        if length == 0 || length > count - marks.len() {
            return Err(TokenError);
        }
        marks.resize(marks.len() + length, mark);
    }
    Ok(marks)
}

fn packed(marks: &[u8], width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(marks.len() / 2);
    let (mut bits, mut filled) = (0_u32, 0);
    for mark in marks {
        bits |= u32::from(*mark) << filled;
        filled += width;
        while filled >= 8 {
            out.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(bits.to_le_bytes()[0]);
    }
    out
}

fn read_packed(bytes: &mut &[u8], count: usize, width: u32) -> Result<Vec<u8>, TokenError> {
    let mut marks = Vec::with_capacity(count);
    let (mut bits, mut filled) = (0_u32, 0);
    for _ in 0..count {
        if filled < width {
            let [byte] = array(bytes)?;
            bits |= u32::from(byte) << filled;
            filled += 8;
        }
        marks.push((bits & ((1 << width) - 1)).to_le_bytes()[0]);
        bits >>= width;
        filled -= width;
    }
    if bits == 0 { Ok(marks) } else { Err(TokenError) }
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], TokenError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(TokenError)?;
    *bytes = rest;
    Ok(*first)
}

fn number(bytes: &mut &[u8], most: usize) -> Result<usize, TokenError> {
    let number = usize::try_from(varint::take(bytes)?).map_err(|_| TokenError)?;
    if number <= most { Ok(number) } else { Err(TokenError) }
}

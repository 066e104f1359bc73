// MessagePack → JavaScript, as far as the chunk header uses it. Binary values are views, not copies.

const text = new TextDecoder();

export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;

  const take = (length) => {
    if (at + length > bytes.length) throw new RangeError("message cut short");
    at += length;
    return at - length;
  };
  const binary = (length) => { const from = take(length); return bytes.subarray(from, from + length); };
  const string = (length) => text.decode(binary(length));
  const list = (length) => Array.from({ length }, value);
  const map = (length) => {
    const object = {};
    for (let i = 0; i < length; i += 1) { const key = value(); object[key] = value(); }
    return object;
  };

  const wide = {
    0xc0: () => null, 0xc2: () => false, 0xc3: () => true,
    0xc4: () => binary(view.getUint8(take(1))), 0xc5: () => binary(view.getUint16(take(2))), 0xc6: () => binary(view.getUint32(take(4))),
    0xca: () => view.getFloat32(take(4)), 0xcb: () => view.getFloat64(take(8)),
    0xcc: () => view.getUint8(take(1)), 0xcd: () => view.getUint16(take(2)), 0xce: () => view.getUint32(take(4)),
    0xcf: () => Number(view.getBigUint64(take(8))),
    0xd0: () => view.getInt8(take(1)), 0xd1: () => view.getInt16(take(2)), 0xd2: () => view.getInt32(take(4)),
    0xd3: () => Number(view.getBigInt64(take(8))),
    0xd9: () => string(view.getUint8(take(1))), 0xda: () => string(view.getUint16(take(2))), 0xdb: () => string(view.getUint32(take(4))),
    0xdc: () => list(view.getUint16(take(2))), 0xdd: () => list(view.getUint32(take(4))),
    0xde: () => map(view.getUint16(take(2))), 0xdf: () => map(view.getUint32(take(4))),
  };

  function value() {
    const kind = view.getUint8(take(1));
    if (kind < 0x80) return kind;
    if (kind < 0x90) return map(kind & 15);
    if (kind < 0xa0) return list(kind & 15);
    if (kind < 0xc0) return string(kind & 31);
    if (kind >= 0xe0) return kind - 256;
    const read = wide[kind];
    if (!read) throw new TypeError(`unknown kind ${kind}`);
    return read();
  }

  return value();
}

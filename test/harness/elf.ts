/**
 * The properties of an ELF file that decide how hard a memory error in it is to exploit: elf(5).
 *
 * Limits: 64 bits, little-endian (both architectures that are built for).
 */
import { readFileSync } from 'node:fs';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_GNU_STACK = 0x6474e551;
const PT_GNU_RELRO = 0x6474e552;
const PF_X = 1;
const PF_W = 2;
const DT_FLAGS = 30;
const DT_FLAGS_1 = 0x6ffffffb;
const DF_BIND_NOW = 8;
const DF_1_NOW = 1;
const DF_1_PIE = 0x08000000;
const SHT_SYMTAB = 2;

export interface Elf {
  /** ET_DYN: it can be loaded at any address. */
  positionIndependent: boolean;
  /** True for a program, false for a library. */
  pie: boolean;
  relro: boolean;
  bindNow: boolean;
  executableStack: boolean;
  /** Segments that are both written to and executed. */
  writableCode: number;
}

export function readElf(path: string): Elf {
  const bytes = readFileSync(path);
  const programs = programsOf(bytes);
  const dynamic = new Map(
    programs.filter(({ type }) => type === PT_DYNAMIC).flatMap(({ offset, size }) => tags(bytes, offset, size)),
  );
  const flags1 = dynamic.get(DT_FLAGS_1) ?? 0;
  const stack = programs.find(({ type }) => type === PT_GNU_STACK);
  return {
    positionIndependent: bytes.readUInt16LE(16) === 3,
    pie: (flags1 & DF_1_PIE) !== 0,
    relro: programs.some(({ type }) => type === PT_GNU_RELRO),
    bindNow: ((dynamic.get(DT_FLAGS) ?? 0) & DF_BIND_NOW) !== 0 || (flags1 & DF_1_NOW) !== 0,
    // Without the header the kernel makes it executable (fs/binfmt_elf.c).
    executableStack: stack === undefined || (stack.flags & PF_X) !== 0,
    writableCode: programs.filter(({ type, flags }) => type === PT_LOAD && (flags & PF_W) !== 0 && (flags & PF_X) !== 0)
      .length,
  };
}

function programsOf(bytes: Buffer) {
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
    throw new Error('not a 64-bit ELF file');
  const start = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, n) => {
    const at = start + n * size;
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
    };
  });
}

function tags(bytes: Buffer, offset: number, size: number): [tag: number, value: number][] {
  return Array.from({ length: Math.floor(size / 16) }, (_, n) => [
    Number(bytes.readBigUInt64LE(offset + 16 * n)),
    Number(BigInt.asUintN(32, bytes.readBigUInt64LE(offset + 16 * n + 8))),
  ]);
}

/** Names that an object file needs from elsewhere. */
export function undefinedSymbols(path: string): string[] {
  const bytes = readFileSync(path);
  const start = Number(bytes.readBigUInt64LE(40));
  const size = bytes.readUInt16LE(58);
  const section = (n: number) => {
    const at = start + n * size;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 24)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
      link: bytes.readUInt32LE(at + 40),
    };
  };
  return Array.from({ length: bytes.readUInt16LE(60) }, (_, n) => section(n))
    .filter(({ type }) => type === SHT_SYMTAB)
    .flatMap(({ offset, size: length, link }) => {
      const names = section(link).offset;
      return Array.from({ length: length / 24 }, (_, n) => offset + 24 * n)
        .filter((at) => bytes.readUInt16LE(at + 6) === 0) // SHN_UNDEF
        .map((at) => names + bytes.readUInt32LE(at))
        .map((at) => bytes.toString('latin1', at, bytes.indexOf(0, at)));
    })
    .filter((name) => name !== '');
}

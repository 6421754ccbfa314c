// plugNmeet's messages, read from the repository's own proto files.
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";

const PROTO = fileURLToPath(new URL("../../../proto/", import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_, target) => PROTO + target;
root.loadSync(["plugnmeet_common_api.proto", "plugnmeet_nats_msg.proto"], { keepCase: true });

const type = (name) => root.lookupType(`plugnmeet.${name}`);

/** Bytes of a message. */
export const encode = (name, value) => type(name).encode(type(name).fromObject(value)).finish();

/** A plain object: enums as names, 64-bit numbers as numbers. */
export const decode = (name, bytes) =>
  type(name).toObject(type(name).decode(bytes), { enums: String, longs: Number, defaults: true });

import { uuid } from "../meeting/uuid";

/** This page's own name, new with each load: two pages of one seat are told apart by it. See docs/client.md. */
export const PAGE = uuid();

import { ApiError } from "../services/api/types";
import { t, tCode, tServer } from ".";

/** Why the server did not do what was asked, in the person's language. */
export function refusalOf(error: unknown): string {
  if (!(error instanceof ApiError) || error.isNetwork || error.message === "") return t("common.noAnswer");
  return tCode(error.code) ?? tServer(error.message);
}

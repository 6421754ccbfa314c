import { refusalOf } from "../../i18n/refusal";
import type { View } from "../../meeting/view";

/** Does what a host asked for; should the server refuse, says why. */
export function act(view: View, action: Promise<void>): void {
  action.catch((error: unknown) => view.tell(refusalOf(error), "error"));
}

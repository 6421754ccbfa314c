import { type FC, useState } from "react";
import { t } from "../../i18n";
import { Button } from "../../ui/Button";
import { copyText } from "../../ui/copy";
import between from "./Between.module.css";
import { type Problem, report } from "./report";

/** Copies what an administrator needs to know; shows it where nothing can be copied. */
export const CopyReport: FC<{ problem: Problem; tone?: "primary" | "plain" }> = ({
  problem,
  tone = "plain",
}) => {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  if (state === "failed")
    return (
      <pre dir="ltr" className={between.report}>
        {report(problem)}
      </pre>
    );
  return (
    <Button
      tone={tone}
      size={tone === "primary" ? "large" : "small"}
      onPress={() =>
        void copyText(report(problem)).then((isCopied) => setState(isCopied ? "copied" : "failed"))
      }
    >
      {t(state === "copied" ? "trouble.reportCopied" : "trouble.copyReport")}
    </Button>
  );
};

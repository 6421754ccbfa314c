import type { FC, Ref } from "react";
import {
  TextField as AriaTextField,
  type TextFieldProps as AriaTextFieldProps,
  FieldError,
  Input,
  Label,
  Text,
} from "react-aria-components";
import styles from "./TextField.module.css";

interface TextFieldProps extends Omit<AriaTextFieldProps, "className" | "children" | "style"> {
  label: string;
  hint?: string | undefined;
  placeholder?: string;
  error?: string | undefined;
  inputRef?: Ref<HTMLInputElement>;
}

export const TextField: FC<TextFieldProps> = ({ label, hint, placeholder, error, inputRef, ...rest }) => (
  <AriaTextField {...rest} className={styles.field ?? ""} isInvalid={error !== undefined}>
    <Label className={styles.label ?? ""}>{label}</Label>
    <Input
      className={styles.input ?? ""}
      placeholder={placeholder}
      {...(inputRef ? { ref: inputRef } : {})}
    />
    {hint && error === undefined && (
      <Text slot="description" className={styles.hint ?? ""}>
        {hint}
      </Text>
    )}
    <FieldError className={styles.error ?? ""}>{error}</FieldError>
  </AriaTextField>
);

/** A question that the guest asks on its console and waits for: one row of the table. An unattended boot ends there, and the report
 *  names the question. */
export interface Question {
  /** An identifier for programs: "asks-for-passphrase". */
  readonly name: string;
  /** Matches the line that asks. */
  readonly shows: RegExp;
  /** The sentence in the report. */
  readonly cause: string;
  /** What the harness may type by itself: the passphrase from its options, or Enter if the console waits for nothing else. */
  readonly answer?: 'passphrase' | 'enter';
  /** The question ends its line and waits on the next one. */
  readonly finished?: boolean;
  /** Milliseconds before the question counts: another program, or a timeout that is not shown, may answer it first. */
  readonly standsMs?: number;
  readonly source: string;
}

const END = String.raw`\s?[:：]\s*$`;

/** The word for "password" in the translations of Linux-PAM. */
const PASSWORD_WORDS =
  'password|passwort|mot de passe|contraseña|пароль|パスワード|密码|密碼|비밀번호|parola|has[łl]o|palavra-passe|senha|wachtwoord|heslo|lösenord|salasana|adgangskode|passord|jelszó|geslo|lozinka';
const PASSWORD = new RegExp(`(?:^|[\\s'’(])(?:${PASSWORD_WORDS})(?:\\s[^:：]{0,40})?${END}`, 'i');

/** "login:" as login(1) translates it when it asks a second time; getty does not translate it. */
const LOGIN_PROMPT = new RegExp(
  `(?:\\blogin|Anmeldung|identifiant|ログイン|登录|登入|логин|Inicio de sesión|Kullanıcı ismi|sessão|inlognaam|Přihlašovací jméno|användarnamn|користувач)${END}`,
  'i',
);

const REFUSED =
  /Login incorrect|Password incorrect|Permission denied|Authentication failure|account has expired|Anmeldung falsch|Identifiant incorrect|ログインが失敗|登录不正确|登入不正確|Неверный логин|Inicio de sesión incorrecto|Giriş başarısız|Niepoprawne logowanie|Login non corretto|Início incorrecto|Login incorreto|Inloggegevens onjuist|Chybné přihlášení|Felaktig inloggning|Некоректний вхід|Maximum number of tries exceeded|account is locked due to/i;

/** @see tmpfiles.d/systemd-nologin.conf: until systemd-user-sessions.service only root may log in. */
const NOT_YET = /System is booting up|not permitted to log in yet/;

/** Returns whether a line asks for a user's password. */
export function asksForPassword(line: string): boolean {
  return PASSWORD.test(line);
}

/** Returns whether a line asks for a user name. */
export function asksForLogin(line: string): boolean {
  return LOGIN_PROMPT.test(line);
}

/** Finds the message of a refused login in a text. */
export function refusalIn(text: string): string | undefined {
  return REFUSED.exec(text)?.[0];
}

/** Returns whether a text says that users cannot log in yet. */
export function saysNotYet(text: string): boolean {
  return NOT_YET.test(text);
}

export const QUESTIONS: readonly Question[] = [
  {
    name: 'asks-for-passphrase',
    shows: new RegExp(
      [
        // Without what follows an answer: "Verifying passphrase for DEVICE...".
        '(?:enter |verify )?passphrase for (?!key ).*[^.\\s]',
        '(?:please )?enter (?:two-factor |LUKS |hex |raw )?(?:passphrase|key)(?: for (?!key ).+)?',
        'enter (?:ZFS )?password for .+',
        'encrypted ZFS password for .+',
        'please unlock disk .+',
        'please enter (?:passphrase|recovery key|passphrase or recovery key|password) for disk .+',
        'please enter (?:correct )?(?:TPM2?|security token|LUKS2 token|FIDO2 token|PKCS#11 token)? ?PIN.*',
        'enter (?:token )?(?:\\d+ )?PIN.*',
        'PIN for GPG Card associated with device .+',
        'FIDO2 salt for .+',
        'enter aes-\\d+-cbc decryption password',
        'password \\([^)]+\\) \\[\\d+/\\d+\\]',
      ]
        .map((one) => `(?:^|[\\s*?👆🔐])${one}\\s?:?$`)
        .join('|'),
      'i',
    ),
    cause: 'the boot waits for the passphrase of an encrypted disk',
    answer: 'passphrase',
    // clevis or a key on the network may answer it.
    standsMs: 10_000,
    source:
      'NixOS luksroot.nix, bcachefs.nix, zfs.nix; systemd src/cryptsetup; cryptsetup; cryptsetup-initramfs; dracut crypt-lib.sh; mkinitcpio; mkinitfs; GRUB disk/cryptodisk.c; libzfs_crypto.c',
  },
  {
    name: 'console-wants-enter',
    shows: /press enter to activate this console|^\[press ENTER to login\]/i,
    ...{ answer: 'enter', finished: true },
    cause: 'the console waits for Enter',
    source: 'busybox init/init.c; OpenWrt procd; agetty --login-pause',
  },
  {
    name: 'asks-for-new-password',
    shows: new RegExp(
      `^(?:(?:Current|Old|New|Retype new|Re-enter new|Enter (?:the )?new|Retype|Confirm)(?: \\w+)? password|(?:\\(current\\)|Enter new|Retype new) UNIX password|Geben Sie (?:das aktuelle|ein neues|das neue) Passwort.*|(?:Nouveau m|Retapez le nouveau m)ot de passe|Mot de passe actuel|Nueva contraseña|Contraseña actual|(?:Текущий|Новый) пароль|(?:現在の|新しい)パスワード|(?:当前|新)的密码|Nuova password|Password attuale|(?:Obecne|Nowe) hasło|(?:Mevcut|Yeni) parola|(?:Atual|Nova) senha)${END}`,
      'i',
    ),
    cause: 'the login requires a new password',
    source: 'Linux-PAM pam_unix, pam_get_authtok; passwd(1)',
  },
  {
    name: 'asks-for-code',
    shows: new RegExp(
      `(?:verification code|one-time password|\\bOTP\\b|passcode(?: or option.*)?|authenticator code|security code|(?:first|second) factor.*|2FA|YubiKey for .+)${END}|^Insert your U2F device|^One-time password \\(OATH\\) for .+`,
      'i',
    ),
    finished: true,
    cause: 'the login asks for a one-time code',
    source: 'google-authenticator-libpam; oath-toolkit pam_oath; pam_yubico; pam_u2f; Duo pam_duo; sssd',
  },
  {
    name: 'first-boot-wizard',
    shows:
      /-- Press any key to proceed --|Please enter (?:the )?(?:new )?(?:system |root )?(?:locale|message locale|keymap|timezone|hostname|a new root password|root password|new root password|root shell|user name)|\(empty to skip|empty to skip\)|Please make a selection from the above|Please make your choice from above|^\s*refresh\]:\s*$|(?:Create|New|Repeat) root password\s*:|Please provide (?:a username|your real name)|Choose default system command shell|Press enter to configure\.?$|This is the Z Shell configuration function for new users|Do you want to configure \w+ now|enter the initial configuration dialog|Please select (?:a |your )?(?:language|locale|keyboard|keymap|time ?zone|country)/i,
    finished: true,
    cause: 'a first-boot wizard waits for input',
    source:
      'systemd-firstboot(1); Fedora initial-setup; Armbian armbian-firstlogin; Ubuntu console-conf; zsh-newuser-install',
  },
  {
    name: 'asks-to-repair',
    shows: /(?:<[yn]>|\(y\/n\)|\[12\?q\])\s?\?? ?$|Press '?S'? to skip .*manual recovery/i,
    cause: 'a filesystem check asks whether to repair',
    source: 'e2fsprogs e2fsck/util.c, ask_yn; dosfstools; mountall',
  },
  {
    name: 'loader-asks',
    shows: /^Enter (?:username|password):\s*$/,
    finished: true,
    cause: 'GRUB asks for a user name and a password before it boots an entry',
    source: 'GRUB grub-core/normal/auth.c',
  },
  {
    name: 'asks-a-question',
    shows:
      /(?:press|hit|strike) (?:the )?(?:any key|a key|enter|return|<enter>|\[enter\]|space)\b(?!.*(?:boot menu|setup|enter the|in \d|within \d|to stop|to interrupt|to skip|to edit|to select|to cancel|to abort))|\[(?:y\/n|yes\/no)\](?:\s?[:?])?\s*$|\((?:y\/n|yes\/no)(?:\/[^)]*)?\)(?:\s?[:?])?\s*$|^--More--|^\(END\)$|^lines \d+-\d+|Enter runlevel:/i,
    finished: true,
    cause: 'the console waits for an answer',
    source: 'any program',
  },
];

/** Text that a boot loader shows only in its menu or as its prompt. A loader with two terminals may show a prompt twice.
 *  @see GRUB grub-core/normal/menu_text.c; systemd src/boot/boot.c; SYSLINUX core/cli.c; Limine */
const LOADER_MENU =
  /Press enter to boot the selected OS|Reboot Into Firmware Interface|(?:^|\n)(?:boot: ?){1,3}\s*$|ARROWS Select +ENTER Boot|Press a key to return to menu|--MORE--\s*$/g;

/** Finds the last text of a loader's menu in the console's output. */
export function loaderMenuIn(text: string): string | undefined {
  return text.match(LOADER_MENU)?.at(-1)?.trim();
}

/** The beginning of a line that reports progress. */
const WORKING =
  /^(?:[*[<=#|+-]|(?:re)?(?:start|stopp?|sett?|configur|wait|load|mount|check|bring|creat|activat|initiali[sz]|populat|synthesi[sz]|generat|detect|prob|scann?|clean|updat|enabl|disabl|unpack|decompress|expand|resiz|grow|install|download|copy|remov|restor|sav|apply|runn?|begin|attach|search|seed|import|verif)(?:ing|y?ing|e|y)?\b)/i;

/** An unfinished line that looks like a question but is not in the table. */
const UNKNOWN = /\S.{0,300}(?:[:：?？]|[^-=<>]>)\s*$|^>\s*$/;

const UNKNOWN_QUESTION: Question = {
  name: 'asks-a-question',
  shows: UNKNOWN,
  cause: 'the console waits for an answer',
  standsMs: 4000,
  source: 'any program',
};

/** A line shown twice: the loader writes to the screen and to the serial port, and the BIOS copies the screen to the serial port. */
const TWICE = /^(.{4,200}\S)(?:\s*\1)+$/;

/** Finds the question that the last line asks: one of the table, or any text that looks like a question.
 *  @param finished whether the line has ended and the cursor is on the next one. */
export function questionIn(line: string, finished: boolean): Question | undefined {
  // Without systemd's hint and its asterisk for each typed character.
  const text = line
    .replace(/\(press TAB for no echo\)\s*$/, '')
    .replace(/(?<=[:)] ?)\*+$/, '')
    .trim()
    .replace(TWICE, '$1');
  const known = QUESTIONS.find((one) => (!finished || one.finished === true) && one.shows.test(text));
  if (known !== undefined || finished) return known;
  if (asksForPassword(text))
    return { ...UNKNOWN_QUESTION, name: 'asks-for-password', cause: 'the console waits for a password' };
  return UNKNOWN.test(text) && !WORKING.test(text) ? UNKNOWN_QUESTION : undefined;
}
